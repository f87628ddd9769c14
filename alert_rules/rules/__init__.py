"""Rules: when a fact becomes an alert."""
