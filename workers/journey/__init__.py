"""The journey of a result, one module a step. Nothing here knows Celery, and nothing decides."""
