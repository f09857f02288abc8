"""The loop that generates for all requests of one model, in a thread of its own: rows in, text in their outlets."""

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
"""Seconds after which an idle thread looks whether its process is about to end, and must not be kept by it."""


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
        """Let a row stand in line."""
        with self._changed:
            if self._closing:
                raise self.gone()
            self._arrived.append(row)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"engine {self._name}")
                self._thread.start()
            self._changed.notify()

    def cancel(self, row: Row) -> None:
        """Take a row out before the next step."""
        if not row.over:
            row.cancelled = True
            self.stir()

    def stir(self) -> None:
        """Have the thread look again at who has left and who has read on."""
        with self._changed:
            self._stirred = True
            self._changed.notify()

    def close(self) -> None:
        """End the thread after the step it is in; every row that is left fails."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def gone(self) -> Unavailable:
        """Return what readers are told once the thread has ended."""
        if self.fault is None:
            return Unavailable(f"the model {self._name} is being shut down")
        return Unavailable(f"the model {self._name} has stopped: {failures.words(self.fault)}")

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._awaited() and self.turns.run():
                    pass
        # Whatever ends the thread, no reader may wait for it any longer.
        except BaseException as error:
            logger.exception("the engine of %s has stopped", self._name)
            self.fault = error
        finally:
            self._dismiss()

    def _awaited(self) -> bool:
        """Wait until there is something to do; return whether there will be."""
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
        """Tell every reader that nothing more comes."""
        with self._changed:
            self._closing = True
            left, self._arrived = [*self.turns.live, *self._arrived], []
        for row in left:
            if not row.over:
                row.failed = True
                self.turns.post.write(row.outlet, self.gone())
        self.turns.post.deliver()
        self.turns.clear()
