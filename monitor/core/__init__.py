"""Pure decisions: no Redis, Celery, HTTP, clock, randomness, threads or logging is imported below this line."""
