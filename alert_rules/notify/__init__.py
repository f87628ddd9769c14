"""Notifications: whether a receiver needs a message now, and what it says."""
