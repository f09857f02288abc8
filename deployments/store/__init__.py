"""Where kept runs live: a row for each, and its log as bytes in segments; in a file, or in PostgreSQL."""
