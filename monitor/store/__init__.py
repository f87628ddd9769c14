"""The only home of Redis: the port, the real store, the shipped fake, every key and script."""
