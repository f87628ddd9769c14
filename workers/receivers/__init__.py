"""Messages leave the house here: the only package that knows apprise."""
