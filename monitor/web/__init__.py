"""The web listener: health, readiness, metrics."""
