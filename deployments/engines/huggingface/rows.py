"""One answer that is being generated: its tokens, the rules for the next one, their text, and when it ends."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from deployments.engines.detokenizing import Detokenizer, Stops
from deployments.engines.engine import Ended, Finish, Usage
from deployments.engines.grammar import Guide
from deployments.engines.huggingface.sampling import NOTHING, pick
from deployments.engines.huggingface.shaping import Shape
from deployments.engines.huggingface.text_outlet import TextOutlet
from deployments.engines.settings import Draw, Settings
from graphs.errors import AnabranchError, ComponentFailed


class Row:
    """One request's answer. Once it is submitted, only the inference thread uses it, except for `cancelled`."""

    def __init__(
        self,
        prompt: Sequence[int],
        settings: Settings,
        *,
        detokenizer: Detokenizer,
        outlet: TextOutlet,
        shape: Shape | None = None,
        constraint: Guide | None = None,
        streaming: bool = True,
    ) -> None:
        self.prompt = prompt
        self.settings = settings
        self.outlet = outlet
        self.tokens: list[int] = []
        self.cancelled = False
        self.failed = False
        self.ended: Ended | None = None
        self._detokenizer = detokenizer
        self._stops = Stops(settings.stops)
        self.draw = Draw(1.0) if shape is not None and shape.narrows else settings.draw
        self._shape = shape
        self._constraint = constraint
        # Python's random generator gives the same numbers on every device.
        self._chance = random.Random(settings.seed)
        self._streaming = streaming
        self._unsent = ""
        self._banned: Tensor | None = None

    @property
    def over(self) -> bool:
        return self.ended is not None or self.failed or self.cancelled

    def shaped(self) -> bool:
        """Return whether any rule changes the scores of the next token."""
        return self._shape is not None or self._constraint is not None or self._early()

    def shape(self, scores: Tensor) -> None:
        """Change the scores of this row's next token, in place."""
        if self._early():
            if self._banned is None:
                self._banned = torch.tensor(sorted(self.settings.ends), dtype=torch.long, device=scores.device)
            scores[self._banned] = -torch.inf
        # Rules come after the ban, because one may force an end token.
        if self._shape is not None:
            self._shape.apply(scores)
        if self._constraint is not None:
            self._constraint.mask(scores)

    def chance(self) -> float:
        return 0.0 if self.draw.greedy else self._chance.random()

    def take(self, token: int) -> str:
        """Add a token, and return the text that can be sent. Sets `ended` if it was the last."""
        self.tokens.append(token)
        if self._shape is not None:
            self._shape.add(token)
        complete = self._constraint is not None and self._constraint.accept(token)
        if token in self.settings.ends:
            cut = self.settings.forced_end and self._full()
            return self._end("length" if cut else "stop")
        text = self._detokenizer.feed(token)
        if self.settings.stops and not self._early():
            text, stopped = self._stops.feed(text)
            if stopped:
                return self._end("stop", text, flush=False)
        if complete or self._full():
            return self._end("stop" if complete else "length", text)
        if self._streaming:
            return text
        self._unsent += text
        return ""

    def finish(self, tokens: Sequence[int]) -> str:
        """Take a whole answer, as beam search returns it, and return its text."""
        sent: list[str] = []
        for token in tokens:
            sent.append(self.take(token))
            if self.ended is not None:
                return "".join(sent)
        return "".join(sent) + self._end("stop")

    def _early(self) -> bool:
        return len(self.tokens) < self.settings.least and self._constraint is None

    def _full(self) -> bool:
        return len(self.tokens) >= self.settings.most

    def _end(self, finish: Finish, text: str = "", flush: bool = True) -> str:
        if flush:
            rest, stopped = self._stops.feed(self._detokenizer.end())
            text += rest if stopped else rest + self._stops.end()
            finish = "stop" if stopped else finish
        self.ended = Ended(finish, Usage(len(self.prompt), len(self.tokens)))
        return self._unsent + text


def choose(logits: Tensor, rows: Sequence[Row]) -> list[int | AnabranchError]:
    """Return each row's next token, or the error that it has none. May change `logits` in place."""
    scores = logits.float()
    failed: dict[int, AnabranchError] = {}
    for index, row in enumerate(rows):
        if not row.shaped():
            continue
        try:
            row.shape(scores[index])
        except AnabranchError as error:
            failed[index] = error
        except Exception as error:  # noqa: BLE001 -- the rules of one answer must not end the others
            failed[index] = ComponentFailed(f"choosing a token failed: {type(error).__name__}: {error}")
    tokens = pick(scores, [row.draw for row in rows], [row.chance() for row in rows])
    return [failed.get(index) or (_no_token() if token == NOTHING else token) for index, token in enumerate(tokens)]


def _no_token() -> ComponentFailed:
    return ComponentFailed(
        "the model gave no usable scores for the next token: they are not numbers, or every token is banned; "
        "write `precision: float32`, or loosen the parameters"
    )
