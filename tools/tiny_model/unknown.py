"""What the model doesn't know, so that it says so: questions about everything else."""

from __future__ import annotations

from random import Random

from tools.tiny_model.sections import TEXTS, read_sections

SIGNS = ("plus", "+", "minus", "-", "times", "*", "/", "divided by")


class Asker:
    """Asks what the model can't know."""

    def __init__(self, random: Random) -> None:
        self._random = random
        found = read_sections(TEXTS / "unknown.txt")
        self._answers, self._questions, self._sums = (
            found["answers"].lines,
            found["questions"].lines,
            found["sums"].lines,
        )
        self._about = {
            name: (found[name].words(";"), found[f"asks of {name}"].lines) for name in ("things", "places", "doings")
        }

    def asked(self) -> tuple[str, str]:
        """Return a question, and an honest answer."""
        return self._question(), self._random.choice(self._answers)

    def _question(self) -> str:
        [kind] = self._random.choices(("things", "places", "doings", "sum", "other"), (35, 15, 25, 10, 15))
        if kind == "sum":
            a, b = self._random.randint(0, 100), self._random.randint(0, 100)
            sign = self._random.choice(SIGNS)
            gap = " " if sign.isalpha() or " " in sign or self._random.random() < 0.6 else ""
            return self._random.choice(self._sums).format(x=f"{a}{gap}{sign}{gap}{b}")
        if kind == "other":
            return self._random.choice(self._questions)
        words, frames = self._about[kind]
        return self._random.choice(frames).format(x=self._random.choice(words))
