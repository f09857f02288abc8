"""What every HTTP way in shares: bodies, values as JSON, errors, the client that may leave, and the middleware."""
