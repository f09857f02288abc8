"""Conversations that go on: messages in, each a run; in order at every replica, with the history that the next one needs."""
