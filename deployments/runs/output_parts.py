"""A part of a workflow's output, and the jobs that decide it: each job is waited for only once it is read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping

from graphs.plan import OutputReads
from graphs.stream import Value


class Part:
    """What becomes known at one time: an entry of the output's mapping, or the whole output."""

    def __init__(self, reads: OutputReads) -> None:
        self.reads = reads
        self.taken: dict[str, Value] = {}
        """The outputs that it was handed, by their jobs."""
        self.known = False


class Unsettled(Exception):
    """An output is read whose job hasn't settled; `settled` waits for that."""

    def __init__(self, settled: Callable[[], Awaitable[object]]) -> None:
        super().__init__("a job hasn't settled")
        self.settled = settled


class AsRead(Mapping[str, Value]):
    """A mapping whose values are made when they are read: a default that isn't needed waits for no job."""

    def __init__(self, names: Collection[str], read: Callable[[str], Value]) -> None:
        self._names, self._read = names, read

    def __getitem__(self, name: str) -> Value:
        if name not in self._names:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)
