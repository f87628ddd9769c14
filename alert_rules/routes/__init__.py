"""Routes: who hears of an alert, and together with which others."""
