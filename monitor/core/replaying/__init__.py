"""`watchkeeper breaker replay`: a history in, every step's state out, in virtual time, by the functions that run in production."""
