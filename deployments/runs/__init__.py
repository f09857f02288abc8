"""One run: its jobs, the events it says, and how it ends."""
