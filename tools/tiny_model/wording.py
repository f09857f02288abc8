"""A question in, the same question as another person might type it out."""

from __future__ import annotations

import re
from random import Random
from string import ascii_lowercase

from tools.tiny_model.sections import TEXTS, read_sections


class Wording:
    """Varies questions, so that it is their sense that decides and not their form."""

    def __init__(self, random: Random) -> None:
        self._random = random
        found = read_sections(TEXTS / "wording.txt")
        self._before, self._after = found["before"].lines, found["after"].lines
        self._fillers = found["fillers"].words()
        lines = (line.split(": ") for line in found["synonyms"].lines)
        self._synonyms = {words: others.split("; ") for words, others in lines}
        alternatives = "|".join(re.escape(words) for words in self._synonyms)
        self._known = re.compile(rf"(?<![\w`$./-])(?:{alternatives})(?![\w`./-])")

    def varied(self, text: str) -> str:
        if not text.isascii():
            return text
        chance = self._random.random
        if chance() < 0.3:
            text = self._known.sub(self._synonym, text)
        if chance() < 0.2 and text.count(" ") > 2:
            text = self._thinned(text)
        if chance() < 0.25:
            text = self._framed(text)
        if chance() < 0.35:
            text = text.lower()
        if chance() < 0.25:
            text = text.rstrip("?.!") or text
        if chance() < 0.1:
            text = text.replace("anabranch", "Anabranch")
        return self._mistyped(text) if chance() < 0.08 else text

    def _synonym(self, found: re.Match[str]) -> str:
        return self._random.choice(self._synonyms[found[0]]) if self._random.random() < 0.6 else found[0]

    def _thinned(self, text: str) -> str:
        """Leave small words out, and put others in."""
        words = list[str]()
        for word in text.split(" "):
            if self._random.random() < 0.1:
                words.append(self._random.choice(self._fillers))
            if len(word) > 3 or not word.islower() or self._random.random() > 0.2:
                words.append(word)
        return " ".join(words)

    def _framed(self, text: str) -> str:
        """Put a few words before or after."""
        if self._random.random() < 0.6:
            before = self._random.choice(self._before)
            starts = before[-1] in ".:" or text.startswith(("I ", "I'"))
            return f"{before} {text if starts else text[0].lower() + text[1:]}"
        end = "?" if text.endswith("?") else ""
        after = self._random.choice(self._after)
        return f"{text.rstrip('?.!')}{'' if after[0] in ',.' else ' '}{after}{end}"

    def _mistyped(self, text: str) -> str:
        """Lose one letter, double it, swap it or get it wrong."""
        places = [at for at in range(1, len(text) - 1) if text[at].isalpha()]
        if not places:
            return text
        at = self._random.choice(places)
        letter, following = text[at], text[at + 1]
        return text[:at] + self._random.choice((
            text[at + 1 :], letter + text[at:], following + letter + text[at + 2 :],
            self._random.choice(ascii_lowercase) + text[at + 1 :],
        ))  # fmt: skip
