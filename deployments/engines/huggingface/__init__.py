"""Transformers as an engine: one loop that generates for many requests, in a thread of its own."""
