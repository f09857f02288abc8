"""One turn of the loop: which rows begin, go on or are parked, and which row is to blame when the model fails.

A turn reads some of the waiting prompts, then takes one step with every cohort. So no request waits for another one to
end, and a long prompt delays the others only for a moment.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from itertools import islice

import torch

from deployments.engines.huggingface import beams
from deployments.engines.huggingface import torch_failures as failures
from deployments.engines.huggingface.cohorts import Cohort, cohort, together
from deployments.engines.huggingface.network import Network
from deployments.engines.huggingface.rows import Row, choose
from deployments.engines.huggingface.text_outlet import Deliveries
from graphs.errors import AnabranchError

logger = logging.getLogger("anabranch.engines")

PATIENCE = 1.0
"""Seconds by which many rows that begin may delay the few that are under way."""


class Pace:
    """How many tokens of waiting prompts are read between two steps: as many as the model reads in a moment."""

    MOMENT = 0.2
    """Seconds."""
    LEAST, MOST = 64, 4096

    def __init__(self) -> None:
        self.budget = 256

    def measure(self, tokens: int, seconds: float) -> None:
        """Learn from a measured read. A few tokens cost as much as one, so they tell nothing."""
        if tokens >= self.LEAST // 2 and seconds > 0:
            self.budget = min(self.MOST, max(self.LEAST, int(tokens / seconds * self.MOMENT)))


class Turns:
    """Used by the inference thread alone. `arrived` returns the rows submitted since the last call, or None at the end."""

    def __init__(
        self,
        network: Network,
        name: str,
        max_batch_size: int,
        max_cache_tokens: int | None,
        arrived: Callable[[], list[Row] | None],
    ) -> None:
        self.live: list[Row] = []
        """Every row that isn't over."""
        self.deliveries = Deliveries()
        self._network = network
        self._name = name
        self._most_rows = max_batch_size
        self._most_tokens = max_cache_tokens
        self._arrived = arrived
        self._pace = Pace()
        self._waiting: deque[Row] = deque()
        self._searches: deque[Row] = deque()
        self._searching: list[Row] = []
        self._filling: Cohort | None = None
        self._cohorts: list[Cohort] = []
        self._parked: list[Cohort] = []

    def busy(self) -> bool:
        """Return whether there is anything to do before something arrives."""
        return bool(self._cohorts or self._filling or self._searches or self._admissible())

    def placed(self) -> list[Row]:
        """Return the rows that have a place in a cohort."""
        filling = [] if self._filling is None else [self._filling]
        return [row for part in (*filling, *self._cohorts, *self._parked) for row in part.rows]

    def run(self) -> bool:
        """Take a turn, and return whether to go on."""
        arrived = self._arrived()
        if arrived is None:
            return False
        self._receive(arrived)
        for part in (*self._cohorts, *self._parked):
            with self._failing(part.rows):
                try:
                    self._tidy(part)
                except Exception:
                    self._remove(part)
                    raise
        began = time.perf_counter()
        self._read_prompts()
        while self._crowded() and time.perf_counter() - began < PATIENCE:
            self._read_prompts()
        for part in tuple(self._cohorts):
            self._step(part)
        if self._searches and not self._searching:
            count = beams.alike(self._network, self._searches, self._most_rows)
            self._search([self._searches.popleft() for _ in range(count)])
        return True

    def clear(self) -> None:
        """Forget all rows."""
        for part in (self.live, self._waiting, self._searches, self._cohorts, self._parked):
            part.clear()
        self._filling = None

    def _receive(self, arrived: list[Row]) -> None:
        self.live = [row for row in self.live if not row.over] + arrived
        for row in arrived:
            (self._searches if row.settings.beams > 1 else self._waiting).append(row)
        for line in (self._waiting, self._searches):
            if any(row.cancelled for row in line):
                staying = [row for row in line if not row.cancelled]
                line.clear()
                line.extend(staying)
        if self._filling is not None and all(row.cancelled for row in self._filling.rows):
            self._filling = None

    def _tidy(self, part: Cohort) -> None:
        """Remove rows that are over, park rows whose readers are behind, and resume those whose readers have caught up."""
        going = [index for index, row in enumerate(part.rows) if not row.over]
        if not going:
            self._remove(part)
            return
        if len(going) < len(part.rows):
            part.keep(going)
        outlets = enumerate(row.outlet for row in part.rows)
        parked = part in self._parked
        self._move(part, [index for index, outlet in outlets if (outlet.roomy if parked else outlet.full)])

    def _move(self, part: Cohort, indices: list[int]) -> None:
        """Park these rows of a cohort, or resume them if they are parked."""
        if not indices:
            return
        parking = part not in self._parked
        moved = part
        if len(indices) < len(part.rows):
            moved = part.part(indices)
            part.keep([index for index in range(len(part.rows)) if index not in indices])
        else:
            self._remove(part)
        for row in moved.rows:
            row.outlet.parked = parking
        if parking:
            self._parked.append(moved)
        else:
            self._settle(moved)

    def _remove(self, part: Cohort) -> None:
        for parts in (self._cohorts, self._parked):
            if part in parts:
                parts.remove(part)

    def _read_prompts(self) -> None:
        """Read the next prompts in the queue, or the next piece of a long one."""
        if self._filling is None:
            rows = self._admissible()
            if not rows:
                return
            count = together(self._network, rows, self._pace.budget)
            self._filling = cohort(self._network, [self._waiting.popleft() for _ in range(count)])
        part = self._filling
        started, width = time.perf_counter(), part.width
        try:
            logits = part.fill(self._pace.budget)
            self._network.wait()
        except Exception as error:  # noqa: BLE001 -- a row that makes the model fail fails alone
            self._filling = None
            failures.reraise_fatal(error)
            self._read_singly(part.rows, error)
            return
        self._pace.measure(len(part.rows) * (part.width - width), time.perf_counter() - started)
        if logits is not None:
            self._filling = None
            self._go_on(part, logits)

    def _read_singly(self, rows: list[Row], error: Exception) -> None:
        if len(rows) == 1:
            self._fail(rows, error)
            return
        for row in rows:
            with self._failing([row]):
                part, logits = cohort(self._network, [row]), None
                while logits is None:
                    logits = part.fill(self._pace.budget)
                self._go_on(part, logits)

    def _crowded(self) -> bool:
        """Return whether more rows could begin now than are under way."""
        beginning = len(self._admissible()) + (len(self._filling.rows) if self._filling is not None else 0)
        return beginning > sum(len(part.rows) for part in self._cohorts)

    def _admissible(self) -> list[Row]:
        """Return the first rows of the queue for which there is room now."""
        placed = self.placed()
        tokens = sum(_worth(row) for row in placed)
        rows: list[Row] = []
        for row in islice(self._waiting, max(0, self._most_rows - len(placed))):
            tokens += _worth(row)
            if self._most_tokens is not None and tokens > self._most_tokens and (placed or rows):
                break
            rows.append(row)
        return rows

    def _step(self, part: Cohort) -> None:
        try:
            logits = part.step()
        except Exception as error:  # noqa: BLE001 -- a row that makes the model fail fails alone
            failures.reraise_fatal(error)
            self._cohorts.remove(part)
            self._blame(part, error)
        else:
            self._take(part, logits)

    def _blame(self, part: Cohort, error: Exception) -> None:
        """Find the rows for which a step fails by taking it with each alone. Without memory, the newest row fails."""
        if len(part.rows) == 1 or not part.sturdy:
            self._fail(part.rows, error)
        elif failures.out_of_memory(error):
            self._fail(part.rows[-1:], error)
            part.keep(range(len(part.rows) - 1))
            self._settle(part)
        else:
            for index, row in enumerate(part.rows):
                with self._failing([row]):
                    single = part.part([index])
                    self._go_on(single, single.step())

    def _go_on(self, part: Cohort, logits: torch.Tensor) -> None:
        """Give the rows of a new cohort their token, and join those that go on with the others."""
        self._take(part, logits)
        going = [index for index, row in enumerate(part.rows) if not row.over]
        if not going:
            return
        with self._failing(part.rows):
            if len(going) < len(part.rows):
                part.keep(going)
            self._settle(part)

    def _settle(self, part: Cohort) -> None:
        try:
            joined = any(other.take_in(part) for other in self._cohorts)
        except torch.OutOfMemoryError:  # joining copies
            joined = False
        if not joined:
            self._cohorts.append(part)

    def _take(self, part: Cohort, logits: torch.Tensor) -> None:
        """Choose a token for each row, and send the text."""
        with self._failing(part.rows):
            for row, token in zip(part.rows, choose(logits, part.rows), strict=True):
                try:
                    if isinstance(token, AnabranchError):
                        raise token
                    self._send(row, row.take(token))
                except Exception as error:  # noqa: BLE001 -- a tokenizer that fails, fails one row
                    self._fail([row], error)
        self.deliveries.deliver()

    def _send(self, row: Row, text: str) -> None:
        if text:
            self.deliveries.write(row.outlet, text, row.sent_scores())
        if row.ended is not None:
            self.deliveries.write(row.outlet, row.ended, row.sent_scores())

    def _search(self, rows: list[Row]) -> None:
        self._searching = rows
        try:
            for row, text in zip(rows, beams.search(self._network, rows, self._between), strict=True):
                self._send(row, text)
        except Exception as error:  # noqa: BLE001 -- a row that makes the model fail fails alone
            failures.reraise_fatal(error)
            self._search_singly(rows, error)
        finally:
            self._searching = []
        self.deliveries.deliver()

    def _search_singly(self, rows: list[Row], error: Exception) -> None:
        left = [row for row in rows if not row.over]
        if len(rows) == 1:
            self._fail(left, error)
            return
        logger.warning(
            "a beam search for %d answers failed, each is searched for alone: %s", len(rows), failures.words(error)
        )
        for row in left:
            self._search([row])

    def _between(self) -> bool:
        """Take a turn for the other rows between two steps of a search. Return whether the search should end."""
        return not self.run() or all(row.over for row in self._searching)

    @contextmanager
    def _failing(self, rows: list[Row]) -> Generator[None]:
        """Fail with an error of the block those of the rows that aren't over: the other cohorts go on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 -- out of memory for the copies, for example
            failures.reraise_fatal(error)
            self._fail([row for row in rows if not row.over], error)

    def _fail(self, rows: list[Row], error: Exception) -> None:
        told = failures.public_error(error, self._name)
        if told is not error:
            logger.error("an answer of %s failed", self._name, exc_info=error)
        for row in rows:
            row.failed = True
            self.deliveries.write(row.outlet, told)
        self.deliveries.deliver()


def _worth(row: Row) -> int:
    return len(row.prompt) + row.settings.most
