"""Streams inside values: found, shared, joined; streams of several items; chunks as bytes; tasks that end together."""
