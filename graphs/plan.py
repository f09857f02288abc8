"""The Plan: a document checked, resolved and ready to run. Frozen, picklable, no string left to parse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from graphs.component import Use
from graphs.language import parse, print_template, references
from graphs.language.nodes import MappingTemplate, Reference, Template
from graphs.stream import Value

DEFAULT_CPUS = 0.1
"""The share of a core that a replica takes by default: with Ray Serve's own, a whole one, two components fill a laptop."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a document says, by id. Ids are in document order."""

    controller: Controller
    components: Mapping[str, ComponentPlan]
    workflows: Mapping[str, WorkflowPlan]
    default_workflow: str | None
    secrets: frozenset[str] = frozenset()
    """Resolved environment values that must never be shown."""
    models: Mapping[str, Model] = field(default_factory=dict[str, "Model"])
    """What requests to the vendors' APIs may name as their model. Aliases come last."""
    doors: Mapping[str, WorkflowPlan] = field(default_factory=dict[str, "WorkflowPlan"])
    """Workflows that call one component as a model. No document can write their ids, and no list shows them."""
    reads_messages: bool = False
    """Whether a binding reads `session.messages`."""

    def workflow(self, id: str) -> WorkflowPlan | None:
        """Return the workflow of this id, one of `doors` too."""
        return self.workflows.get(id) or self.doors.get(id)


class Model(NamedTuple):
    """What answers where a request to the vendors' APIs names a model: a workflow, or a component by itself."""

    id: str
    """That of the workflow or the component."""
    uses: Mapping[Use, str]
    """The id of the workflow that runs for each use that it is good for."""
    is_component: bool
    """Whether a component gets the request as it is; a workflow reads of it what its document says."""


class Webui(NamedTuple):
    driver: Literal["gradio"]
    host: str | None
    port: int | None


class Sessions(NamedTuple):
    """How long sessions are kept, and how much of one a model is sent."""

    keep_for: float = 30 * 86400.0
    """Seconds after a session's last message."""
    max_messages: int = 400
    max_characters: int | None = None
    """None leaves it to what answers: a model component counts tokens by itself."""


@dataclass(frozen=True, slots=True)
class Bridge:
    """A broker of MQTT, and how the document is asked through it."""

    id: str
    host: str
    port: int
    tls: Tls | None
    """None: without TLS."""
    project: str
    """What all topics begin with."""
    client_id: str
    username: str | None = None
    password: str | None = None
    model: str | None = None
    """What answers where a message doesn't say; None: the default workflow."""
    max_message_size: int = 256 * 2**10
    expiry: float = 300.0
    """Seconds for which the broker keeps an answer."""


class Tls(NamedTuple):
    """Absolute paths of PEM files; None leaves what the system has, and no certificate of one's own."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Controller:
    """How the document is served."""

    name: str | None
    host: str | None
    port: int | None
    origins: tuple[str, ...]
    compression: bool
    max_request_size: int
    webui: Webui | None
    options: Options
    store: Store
    primary: str | None = None
    """Which of several streams side by side is the answer at the vendors' APIs; without it the first."""
    sessions: Sessions = field(default_factory=Sessions)
    bridges: tuple[Bridge, ...] = ()


SQLITE = "sqlite:///"
"""How the URL of a store begins that is a file; its absolute path follows."""


class Store(NamedTuple):
    """Where runs are kept that outlive their request, and for how long."""

    url: str | None
    """`sqlite:////absolute/path` or `postgresql://…`; the latter may hold a password. None where no run can be kept."""
    record: Literal["asked", "all"] = "asked"
    """Which runs are kept: those that ask for it, or all."""
    keep_for: float = 7 * 86400.0
    """Seconds after a run's end."""
    max_size: int = 5 * 2**30
    """Bytes of all runs together."""
    written: bool = False
    """Whether the document says anything of it."""

    @property
    def file(self) -> str | None:
        """The absolute path of the file that the store is, None for a database server."""
        url = self.url or ""
        return url.removeprefix(SQLITE) if url.startswith(SQLITE) else None


@dataclass(frozen=True, slots=True)
class Options:
    """What Ray Serve is asked for; None leaves Ray's default."""

    num_gpus: float | None = None
    num_cpus: float = DEFAULT_CPUS
    memory: int | None = None
    accelerator_type: str | None = None
    replicas: int | None = None
    autoscaling: Mapping[str, Any] | None = None
    max_concurrent_count: int = 256
    max_queued: int = 1024
    runtime_env: Mapping[str, Any] | None = None
    spread: bool = False
    """A replica's GPUs may lie on several nodes: the component starts a worker at each."""
    closing_time: float = 0.0
    """How many seconds a component needs to close."""


@dataclass(frozen=True, slots=True)
class ComponentPlan:
    id: str
    type: str
    config: Mapping[str, Value]
    """Valid against the type's Config, environment resolved."""
    actions: Mapping[str, ActionPlan]
    default_action: str | None
    options: Options
    where: str
    """`file:line:column` of the component, for messages."""
    placement: Literal["own", "ingress"] = "own"
    """Whether it runs in a deployment of its own, or in the process of the ingress."""


class ActionPlan(NamedTuple):
    """One operation. `input` gives a mapping for the type's Input; `output` maps `result`/`response`."""

    id: str
    input: Template
    output: Template | None


def fingerprint(plan: ComponentPlan) -> tuple[object, ...]:
    """Return what a component's replicas depend on: not where it stands in its file, which moves when others change."""
    actions = [
        (id, print_template(action.input), None if action.output is None else print_template(action.output))
        for id, action in plan.actions.items()
    ]
    return (plan.id, plan.type, plan.config, actions, plan.default_action)


class InputField(NamedTuple):
    """One field a workflow reads from its input, inferred from its bindings."""

    name: str
    type: str = "any"
    subtype: str | None = None
    format: str | None = None
    default: Value = None
    required: bool = True
    options: tuple[str, ...] = ()
    description: str | None = None


@dataclass(frozen=True, slots=True)
class WorkflowPlan:
    id: str
    title: str | None
    description: str | None
    jobs: Mapping[str, Job]
    """In document order."""
    output: Template | None
    reads: frozenset[str]
    """Jobs whose output the workflow's own `output` names as `jobs.ID.output`."""
    output_kind: OutputKind
    inputs: tuple[InputField, ...]
    timeout: float | None = None
    """Seconds that a run of it may take."""
    wiring: Wiring = field(init=False, repr=False, compare=False)
    """Made of the rest once, for every run reads it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "wiring", _wired(self.jobs, self.output, self.reads))


class OutputKind(NamedTuple):
    """How a streaming result is written: `format` is what the document asks for, None when it doesn't say."""

    type: str | None = None
    format: Literal["sse-text", "sse-json"] | None = None
    names: tuple[str, ...] = ()
    """Several streams side by side: the keys of the output mapping."""


class Retry(NamedTuple):
    max_attempts: int = 1
    delay: float = 0.0
    backoff: float = 1.0
    """The factor between one delay and the next: 1 is fixed, 2 doubles."""
    max_delay: float = 60.0


class OnError(NamedTuple):
    """Exactly one is set: a value instead of the failure, or the job that takes over."""

    output: Template | None = None
    to: str | None = None


@dataclass(frozen=True, slots=True)
class JobBase:
    id: str
    needs: frozenset[str]
    """Every job that must settle first: depends_on, references, the routers and failures that lead here."""
    feeds_from: frozenset[str]
    """The part of `needs` that its bindings or depends_on name: those jobs' outputs are not the workflow's result."""
    whole: frozenset[str]
    """Jobs whose output this one reads as a whole value."""
    flows: frozenset[str]
    """Jobs whose output this one can take as a stream."""
    routed_by: frozenset[str]
    """Routers, and jobs with `on_error.to`, one of which must choose this job for it to run."""
    where: str
    """`file:line:column`."""
    condition: Template | None = None
    condition_text: str | None = None
    output: Template | None = None
    retry: Retry = field(default_factory=Retry)
    on_error: OnError | None = None
    timeout: float | None = None
    """Seconds from when its needs have settled until its output is complete, all attempts included."""


@dataclass(frozen=True, slots=True)
class ComponentCall:
    component: str
    action: str
    input: Template
    kind: Literal["component"] = "component"


@dataclass(frozen=True, slots=True)
class WorkflowCall:
    """A component of type `workflow`: run by the runner itself, inside the same run."""

    component: str
    workflow: str
    input: Template
    """Seen from the job."""
    action_input: Template
    """Seen from the component's action, with that value as `input`."""
    output: Template | None
    kind: Literal["workflow"] = "workflow"


Call = ComponentCall | WorkflowCall


@dataclass(frozen=True, slots=True, kw_only=True)
class CallJob(JobBase):
    call: Call
    kind: Literal["call"] = "call"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForEachJob(JobBase):
    """`call.input` sees `item` and `index`. A list in order, or with `streaming` a stream in order."""

    items: Template
    call: Call
    item_output: Template | None
    """Maps each call's result as `output`."""
    max_concurrent_count: int
    streaming: Template | None
    kind: Literal["for-each"] = "for-each"


class Case(NamedTuple):
    """`test` is a whole condition for `if`, a value compared with the router's input for `switch`."""

    test: Template
    to: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IfJob(JobBase):
    """Chooses the job of the first case whose test is true, else `otherwise`; None chooses no job."""

    cases: tuple[Case, ...]
    otherwise: str | None
    kind: Literal["if"] = "if"


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchJob(JobBase):
    input: Template
    cases: tuple[Case, ...]
    otherwise: str | None
    kind: Literal["switch"] = "switch"


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomJob(JobBase):
    routes: tuple[tuple[str, float], ...]
    """(job, weight); weights are positive."""
    kind: Literal["random-router"] = "random-router"


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayJob(JobBase):
    """Waits `duration` (seconds or `5s`), or until `time`; its output is the workflow's input unless mapped."""

    duration: Template | None
    time: Template | None
    timezone: str | None
    kind: Literal["delay"] = "delay"


Router = IfJob | SwitchJob | RandomJob
"""Chooses, and gives no output."""

Job = CallJob | ForEachJob | DelayJob | Router


class Inputs(NamedTuple):
    """What a job waits for: where it takes a stream as it flows, where it needs the whole, where only the end counts."""

    flowing: frozenset[str]
    whole: frozenset[str]
    ended: frozenset[str]


class Readers(NamedTuple):
    """How a job's output is read."""

    flowing: tuple[str, ...]
    whole: bool
    """Some job needs it whole."""
    ended: bool
    """Some job waits for its end."""
    result: bool
    """The workflow's result may be made of it."""

    @property
    def only_whole(self) -> bool:
        """Whether no reader can take it as a stream."""
        return self.whole and not self.flowing and not self.result


class OutputReads(NamedTuple):
    """What the whole of a workflow's output, or an entry of it, reads."""

    template: Template
    first: Reference | None
    """The first reference, which is read in any case."""
    jobs: frozenset[str]
    """The jobs it names as `jobs.ID.output`."""
    final: bool
    """Whether it reads `output`."""
    chunked: bool
    """Whether it is made chunk by chunk."""
    at_once: bool
    """Whether all that it reads is needed from the start: nothing is a default that other jobs may spare."""


class Wiring(NamedTuple):
    """Which job reads which output, and how."""

    inputs: Mapping[str, Inputs]
    readers: Mapping[str, Readers]
    finals: tuple[str, ...]
    """Jobs whose output is the workflow's `output` if they run and no later one does: the last first."""
    needs_final: bool
    """Whether the workflow's result reads `output`."""
    output: OutputReads
    entries: Mapping[str, OutputReads]
    """The entries of an output that is a mapping."""


def _wired(jobs: Mapping[str, Job], output: Template | None, reads: frozenset[str]) -> Wiring:
    inputs = {id: Inputs(job.flows, job.whole, job.feeds_from - job.flows - job.whole) for id, job in jobs.items()}
    whole = frozenset[str]().union(*(each.whole for each in inputs.values()))
    ended = frozenset[str]().union(*(each.ended for each in inputs.values()))
    flowing: dict[str, list[str]] = {id: [] for id in jobs}
    for reader, each in inputs.items():
        for id in each.flowing:
            flowing[id].append(reader)
    fed = frozenset[str]().union(*(job.feeds_from for job in jobs.values()))
    finals = [id for id, job in jobs.items() if id not in fed and not isinstance(job, Router)]
    result = reads.union(finals)
    template = _UNMAPPED if output is None else output
    whole_output = _output_reads(template, reads)
    entries = template.items if isinstance(template, MappingTemplate) else ()
    return Wiring(
        inputs=inputs,
        readers={id: Readers(tuple(flowing[id]), id in whole, id in ended, id in result) for id in jobs},
        finals=tuple(reversed(finals)),
        needs_final=whole_output.final,
        output=whole_output,
        entries={name: _output_reads(entry, reads) for name, entry in entries},
    )


_UNMAPPED = parse("${output}")
"""The output of a workflow that writes none."""


def _output_reads(template: Template, reads: frozenset[str]) -> OutputReads:
    read = tuple(references(template))
    first = read[0] if read else None
    jobs = reads.intersection(str(each.path[0]) for each in read if each.name == "jobs" and each.path)
    final = any(each.name == "output" for each in read)
    chunked = any(each.chunked for each in read)
    waits_first = first is not None and (first.name == "output" or (first.name == "jobs" and first.path != ()))
    return OutputReads(template, first, jobs, final, chunked, chunked or (waits_first and len(jobs) + final == 1))
