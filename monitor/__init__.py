"""Watchkeeper knows what is true: endpoints, their health, and what consumers may rely on."""

__version__ = "0.1.0"
