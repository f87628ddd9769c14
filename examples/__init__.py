"""Programs that use Watchkeeper the way its users do."""
