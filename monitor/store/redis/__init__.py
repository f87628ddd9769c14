"""The store on a Redis-protocol server."""
