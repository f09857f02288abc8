"""The outcomes of a workflow that gives nothing -> the error that says why, and what to write."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from deployments.runs.errors import followed
from deployments.runs.outcome import Outcome
from graphs.errors import AnabranchError, NoResult
from graphs.plan import Router, WorkflowPlan


def why_no_result(workflow: WorkflowPlan, outcomes: Mapping[str, Outcome], asked: Collection[str]) -> AnabranchError:
    """Return the error of a run in which none of the jobs in `asked`, all that could give the result, gave an output.

    Where one of them failed and another took over, it is that failure: the client that asked is not to blame.
    """
    jobs = [id for id in workflow.jobs if id in asked]
    for id in jobs:
        failure = outcomes[id].failure
        if failure is not None:
            return followed(failure, _after_failure(id, jobs, outcomes))
    unread = _ran_unread(workflow, outcomes) if workflow.wiring.needs_final else {}
    reasons = [outcomes[id].why for id in jobs] or ["no job gives an output"]
    reasons += [f"'{id}' ran, but is not the result because '{waiting}' waits for it" for id, waiting in unread.items()]
    hint = (
        f"write `output: {_reading(unread)}` on the workflow"
        if unread
        else ("write a condition that holds, or give the workflow an output")
    )
    return NoResult(f"workflow '{workflow.id}' has no result: {', '.join(reasons)}; {hint}", workflow=workflow.id)


def _after_failure(failed: str, jobs: list[str], outcomes: Mapping[str, Outcome]) -> str:
    instead = outcomes[failed].chosen
    if instead not in jobs:
        return (
            f"'{instead}' took over, but the workflow's output does not read it; write ${{jobs.{instead}.output}} there"
        )
    return f"'{instead}' took over, but " + ", ".join(outcomes[id].why for id in jobs if id != failed)


def _ran_unread(workflow: WorkflowPlan, outcomes: Mapping[str, Outcome]) -> dict[str, str]:
    """Return the jobs that gave an output for others alone, none of which did; and for each the first of those others."""
    waiting = {
        id: [job.id for job in workflow.jobs.values() if id in job.feeds_from]
        for id, job in workflow.jobs.items()
        if not isinstance(job, Router) and outcomes[id].completed()
    }
    return {id: jobs[0] for id, jobs in waiting.items() if jobs and not any(outcomes[job].completed() for job in jobs)}


def _reading(unread: Mapping[str, str]) -> str:
    first, *rest = unread
    return (
        f"${{jobs.{first}.output}}" if not rest else f"${{jobs.{first}.output | {_reading(dict.fromkeys(rest, ''))}}}"
    )
