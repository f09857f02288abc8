"""The thread that generates for all requests of one model: rows in, text in their outlets."""

from __future__ import annotations

import logging
import threading

import torch

from deployments.engines.huggingface import torch_failures as failures
from deployments.engines.huggingface.network import Network
from deployments.engines.huggingface.rows import Row
from deployments.engines.huggingface.turns import Turns
from graphs.errors import Unavailable

logger = logging.getLogger("anabranch.engines")

IDLE = 1.0
"""Seconds after which an idle thread checks whether its process is ending, which it must not prevent."""


class Batcher:
    """The thread starts with the first row and ends with `close`."""

    def __init__(self, network: Network, name: str, max_batch_size: int, max_cache_tokens: int | None = None) -> None:
        self.fault: BaseException | None = None
        """Why the thread has died."""
        self.turns = Turns(network, name, max_batch_size, max_cache_tokens, self._collect)
        self._name = name
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._arrived: list[Row] = []
        self._stirred = False
        self._closing = False

    def submit(self, row: Row) -> None:
        """Add a row to the queue."""
        with self._changed:
            if self._closing:
                raise self.gone()
            self._arrived.append(row)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"engine {self._name}")
                self._thread.start()
            self._changed.notify()

    def cancel(self, row: Row) -> None:
        """Remove a row before the next step."""
        if not row.over:
            row.cancelled = True
            self.stir()

    def stir(self) -> None:
        """Wake the thread: a client has left or has read on."""
        with self._changed:
            self._stirred = True
            self._changed.notify()

    def close(self) -> None:
        """End the thread after its current step. Every row that isn't over fails."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def gone(self) -> Unavailable:
        """Return the error that clients get once the thread has ended."""
        if self.fault is None:
            return Unavailable(f"the model {self._name} is being shut down")
        return Unavailable(f"the model {self._name} has stopped: {failures.words(self.fault)}")

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._awaited() and self.turns.run():
                    pass
        # No reader may go on waiting, whatever ended the thread.
        except BaseException as error:
            logger.exception("the engine of %s has stopped", self._name)
            self.fault = error
        finally:
            self._dismiss()

    def _awaited(self) -> bool:
        """Wait for something to do. Return False if the process ends first."""
        with self._changed:
            while not (self._closing or self._stirred or self._arrived or self.turns.busy()):
                if not self._changed.wait(IDLE) and not threading.main_thread().is_alive():
                    return False
        return True

    def _collect(self) -> list[Row] | None:
        with self._changed:
            self._stirred = False
            if self._closing:
                return None
            arrived, self._arrived = self._arrived, []
            return arrived

    def _dismiss(self) -> None:
        """Fail every row that isn't over."""
        with self._changed:
            self._closing = True
            left, self._arrived = [*self.turns.live, *self._arrived], []
        for row in left:
            if not row.over:
                row.failed = True
                self.turns.deliveries.write(row.outlet, self.gone())
        self.turns.deliveries.deliver()
        self.turns.clear()
