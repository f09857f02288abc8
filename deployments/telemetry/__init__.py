"""What is said about runs to operators, and what must never be said: secrets."""
