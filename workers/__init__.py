"""What makes it happen: Celery processes, the journey of a result, and receivers of messages."""
