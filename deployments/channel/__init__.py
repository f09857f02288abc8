"""Chunks between replicas: one connection carries all streams of two replicas, with credits and counted ends."""
