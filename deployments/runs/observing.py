"""What happens to the jobs of a workflow -> what its observer is told; nothing where there is none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from deployments.runs.events import JobChunks, JobEnded, JobStarted, Observer
from deployments.runs.for_each import ItemEnd
from deployments.runs.outcome import Outcome
from deployments.streams.inside_values import watched
from graphs.errors import AnabranchError
from graphs.plan import Job
from graphs.stream import Batch, Value


class Observed:
    """Tells the observer of one workflow; `failure` gives what the run fails with, if it does."""

    def __init__(self, observer: Observer | None, failure: Callable[[], AnabranchError | None]) -> None:
        self._observer, self._failure = observer, failure

    def started(self, job: Job) -> None:
        if (observer := self._observer) is not None:
            observer.tell(JobStarted(observer.job(job.id)))

    def skipped(self, job: Job, why: str) -> None:
        if (observer := self._observer) is not None:
            observer.tell(JobEnded(observer.job(job.id), "skipped", why=why))

    def failed(self, job: Job, error: AnabranchError) -> None:
        if (observer := self._observer) is not None:
            observer.tell(JobEnded(observer.job(job.id), "failed", error=error))

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Tell of a job whose whole output is there, or that another took over from."""
        if (observer := self._observer) is not None:
            status, why, error = outcome.status, outcome.why, outcome.failure
            observer.tell(JobEnded(observer.job(job.id), status, outcome.value, False, why, error))

    async def streams_ended(self, job: Job) -> None:
        """Tell of a job whose streams have all ended; one that is merely stopped, because its run ends, isn't told."""
        if (observer := self._observer) is not None:
            failure, id = self._failure(), observer.job(job.id)
            if failure is None:
                observer.tell(JobEnded(id, "completed", streamed=True))
            elif failure.details.get("job") == job.id:
                observer.tell(JobEnded(id, "failed", streamed=True, error=failure))

    def chunks(self, job: Job, value: Value) -> Value:
        """Return the job's output, with its chunks told as they are read, where that is asked for."""
        if self._observer is None or not self._observer.chunks:
            return value
        return watched(value, partial(self._tell_chunks, self._observer, job))

    def _tell_chunks(self, observer: Observer, job: Job, batch: Batch) -> None:
        chunks = [chunk for chunk in batch if not isinstance(chunk, ItemEnd)]
        if chunks:
            observer.tell(JobChunks(observer.job(job.id), chunks))
