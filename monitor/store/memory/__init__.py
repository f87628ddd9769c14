"""The store in memory: the shipped fake."""
