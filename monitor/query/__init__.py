"""Typed views of the state, for the command line, pages and metrics alike."""
