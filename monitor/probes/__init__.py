"""Probers: one file per protocol, the table of kinds, the connection that they share, and what may be probed."""
