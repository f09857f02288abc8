"""Streams inside values: found, shared, joined; chunks as bytes; tasks that end together."""
