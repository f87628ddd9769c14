"""What makes it happen: Celery processes, the pipeline of a result, and receivers of messages."""
