"""How much of the prompts that wait is read between two steps of the answers that go on."""

from __future__ import annotations


class Pace:
    """How many tokens of prompts are read between two steps: as many as the model reads in a moment."""

    MOMENT = 0.2
    """Seconds."""
    LEAST, MOST = 64, 4096

    def __init__(self) -> None:
        self.budget = 256

    def measure(self, tokens: int, seconds: float) -> None:
        """Learn from what was read just now; a few tokens tell nothing, for they cost as much as one."""
        if tokens >= self.LEAST // 2 and seconds > 0:
            self.budget = min(self.MOST, max(self.LEAST, int(tokens / seconds * self.MOMENT)))
