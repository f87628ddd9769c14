"""Pure decisions about a pool: weights, and what is published."""
