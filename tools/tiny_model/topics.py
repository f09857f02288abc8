"""Read `texts/facts/*.txt`: what the model knows, as topics with their questions and answers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.tiny_model.sections import TEXTS

FACTS = TEXTS / "facts"
INDENT = " " * 7
"""What a line begins with that goes on with the one before it."""

WHAT = (
    "What is {x}?", "What's {x}?", "What is {x} for?", "Explain {x}.", "Tell me about {x}.", "What does {x} mean?",
    "Can you explain {x}?", "Describe {x}.", "What do you know about {x}?", "What is {x} in anabranch?", "{x}?", "{x}",
    "I don't understand {x}.", "Tell me more about {x}.", "What about {x}?", "Define {x}.", "How does {x} work?",
    "Could you tell me what {x} is?", "I want to know about {x}.", "What is meant by {x}?", "How do I use {x}?",
    "How can I use {x}?", "Please explain {x} to me.", "What exactly is {x}?",
)  # fmt: skip
PLURAL = (
    "What are {x}?", "What are {x} for?", "Explain {x}.", "Tell me about {x}.", "How do {x} work?", "{x}?", "{x}",
    "Can you explain {x}?", "What do you know about {x}?", "What about {x}?", "What are {x} in anabranch?",
    "I don't understand {x}.", "Could you tell me what {x} are?", "I want to know about {x}.", "How do I use {x}?",
)  # fmt: skip
HOW = (
    "How do I {x}?", "How can I {x}?", "How to {x}?", "I want to {x}.", "How do you {x}?", "How would I {x}?", "{x}",
    "Show me how to {x}.", "Tell me how to {x}.", "What do I write to {x}?", "Can you tell me how to {x}?", "how to {x}",
    "What must I do to {x}?", "I need to {x}.", "What is the way to {x}?", "Explain how to {x}.", "How does one {x}?",
    "I would like to {x}.", "What do I do to {x}?", "How should I {x}?", "I'm trying to {x}.", "Help me {x}.",
    "How do we {x}?", "What is the best way to {x}?", "Please show me how to {x}.", "How could I {x}?",
)  # fmt: skip
CAN = (
    "Can I {x}?", "Is it possible to {x}?", "Could I {x}?", "May I {x}?", "Am I able to {x}?", "Can we {x}?",
    "Can you {x}?", "Can anabranch {x}?", "Does anabranch let me {x}?", "Is there a way to {x}?", "Can one {x}?",
)  # fmt: skip
HAS = (
    "Does anabranch support {x}?", "Does it support {x}?", "Is there support for {x}?", "Does anabranch have {x}?",
    "Do you support {x}?", "Can anabranch do {x}?", "Does it work with {x}?", "Can I use {x}?", "Does it have {x}?",
    "Does anabranch work with {x}?", "Can it do {x}?", "Is {x} supported?", "What about {x}?", "Does it know {x}?",
)  # fmt: skip
MORE = (
    "Tell me more.", "More, please.", "Tell me more about that.", "What else?", "Go on.", "Can you say more?", "And?",
    "Explain more.", "Is there more?", "Continue.", "Anything else?", "Please go on.", "More details, please.",
)  # fmt: skip
SHOW = (
    "Show me an example.", "Can you give me an example?", "An example, please.", "Give me an example.", "For example?",
    "What does that look like?", "Show me.", "How does that look?", "Can you show me?", "How do I write that?",
    "Do you have an example?", "Example?", "What would I write?", "Could I see an example?", "How?", "How do I do that?",
    "How exactly?", "Can I see one?",
)  # fmt: skip
SHOW_OF = (
    "Show me an example of {x}.", "Give me an example of {x}.", "Can you show me {x}?", "An example of {x}, please.",
    "What does {x} look like?", "Write an example of {x}.", "Show me {x}.", "I need an example of {x}.",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Topic:
    """Something the model knows: what is asked, and what is answered."""

    name: str
    questions: tuple[str, ...]
    """What any of `answers` answers."""
    yes: tuple[str, ...]
    """What "Yes." and any of `answers` answers."""
    wants: tuple[str, ...]
    """What the example answers, out of the blue."""
    answers: tuple[str, ...]
    more: str | None = None
    example: str | None = None
    popular: bool = False
    """Whether people ask for it more than for others."""


def read_topics(folder: Path = FACTS) -> tuple[Topic, ...]:
    return tuple(topic for path in sorted(folder.glob("*.txt")) for topic in _topics(path.read_text(encoding="utf-8")))


def _topics(text: str) -> Iterator[Topic]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    name, fields = "", list[tuple[str, str]]()
    for line in [*lines, "[]"]:
        if line.startswith("["):
            if fields:
                yield _topic(name, fields)
            name, fields = line.strip("[]"), []
        elif line.startswith(INDENT):
            key, value = fields[-1]
            fields[-1] = (key, f"{value}\n{line.removeprefix(INDENT)}")
        else:
            key, _, value = line.partition(" ")
            fields.append((key, value.strip()))


def _topic(name: str, fields: list[tuple[str, str]]) -> Topic:
    def of(key: str) -> list[str]:
        return [value for each, value in fields if each == key]

    def parts(key: str) -> list[str]:
        return [part.strip() for value in of(key) for part in value.split("; ")]

    if unknown := {key for key, _ in fields} - {"what", "how", "can", "has", "ask", "say", "more", "show"}:
        raise ValueError(f"topic {name!r}: unknown {', '.join(sorted(unknown))}")
    example = next(iter(of("show")), None)
    nouns = parts("what")
    return Topic(
        name=name.rstrip("!"),
        questions=(*_about(nouns), *_filled(HOW, parts("how")), *map(_sentence, parts("ask"))),
        yes=(*_filled(CAN, parts("can")), *_filled(HAS, parts("has"))),
        wants=tuple(_filled(SHOW_OF, nouns)) if example else (),
        answers=tuple(of("say")),
        more=next(iter(of("more")), None),
        example=example,
        popular=name.endswith("!"),
    )


def _about(nouns: list[str]) -> Iterator[str]:
    for noun in nouns:
        yield from _filled(PLURAL if _is_plural(noun) else WHAT, [noun])


def _is_plural(noun: str) -> bool:
    last = noun.rpartition(" ")[2]
    return last.isalpha() and last.endswith("s") and not last.endswith(("ss", "us")) and last.islower()


def _filled(frames: tuple[str, ...], parts: list[str]) -> Iterator[str]:
    for frame, part in itertools.product(frames, parts):
        yield _sentence(frame.format(x=part))


QUESTION_WORDS = (
    "what", "where", "when", "which", "who", "why", "how", "is", "are", "can", "do", "does", "did", "will", "must", "may", "was",
    "should", "could", "would", "am",
)  # fmt: skip


def _sentence(text: str) -> str:
    """Return a question as a careful writer ends it; the noise comes later."""
    if not text.isascii() or text[-1] in ".?!" or len(text.split()) < 2:
        return text
    asks = text.split(" ", 1)[0].lower() in QUESTION_WORDS
    return f"{text}?" if asks else text
