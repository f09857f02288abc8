"""What every HTTP transport needs: bodies, values as JSON, errors, the client that may leave, and the middleware."""
