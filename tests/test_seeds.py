"""The documents this product was asked for in: each compiles as it stands, and says what it says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployments.components import registry
from graphs.checker import check
from graphs.language import truth
from graphs.language.nodes import Binding, Constant
from graphs.load import load
from graphs.plan import CallJob, ComponentPlan, InputField, Plan
from graphs.source import Mistakes, Source

SEEDS = Path(__file__).parent / "seeds"
CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("**/*.yaml"))
ENVIRONMENT = {"OPENAI_API_KEY": "sk-of-the-test", "ANTHROPIC_API_KEY": "ak-of-the-test"}
LANGUAGES = ("en", "ko", "zh")


@dataclass(frozen=True)
class Essence:
    """What a document comes to: its components' types, the jobs of its workflow, its input, its output's format."""

    types: tuple[str, ...]
    inputs: tuple[str, ...] = ("prompt",)
    format: str | None = None
    jobs: tuple[str, ...] = ("job",)
    streams: tuple[bool, ...] = (True,)
    """Of each component: whether it answers in chunks, or lets the input decide."""


TEXT = "sse-text"
ESSENCES = {
    "01": Essence(("model",), ("text",)),
    "02": Essence(("model",)),
    "03": Essence(("model",), ("message",)),
    "04": Essence(("http-client",)),
    "05": Essence(("http-server",)),
    "06": Essence(("http-client",), format=TEXT),
    "07": Essence(("model", "model"), ("text",), TEXT, ("translate", "summarize"), (False, True)),
    "08": Essence(("model",), ("prompt", "stream"), TEXT),
    "09": Essence(("model",), format=TEXT),
    "10": Essence(("model",)),
    "11": Essence(("http-client",), ()),
    "12": Essence(("http-client",), (), streams=(False,)),
    "13": Essence(("http-client",), (), streams=(False,)),
    "14": Essence(("model",), ("text",), TEXT),
    "15": Essence(
        ("http-client", "http-client"), ("model", "prompt"), TEXT, ("openai-response", "claude-response"), (True, True)
    ),
    "16": Essence(("http-server",), format=TEXT),
}


def compiled(text: str) -> Plan:
    return check([Source("seed.yaml", text)], registry(), ENVIRONMENT.get)


def seed(language: str, name: str) -> str:
    return (SEEDS / language / f"{name}.yaml").read_text(encoding="utf-8")


def answers_in_chunks(component: ComponentPlan) -> bool:
    action = next(iter(component.actions.values()))
    given = action.input.value if isinstance(action.input, Constant) else dict(action.input.items)  # type: ignore[union-attr]
    flag = given.get("streaming")
    decided_by_input = isinstance(flag, Binding)
    value = flag.value if isinstance(flag, Constant) else flag
    return decided_by_input or truth(value) or given.get("stream_format") is not None


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", ESSENCES)
def test_a_seed_compiles_as_it_stands_and_says_what_it_says(language: str, name: str) -> None:
    plan = compiled(seed(language, name))
    [workflow] = plan.workflows.values()
    assert ESSENCES[name] == Essence(
        types=tuple(each.type for each in plan.components.values()),
        inputs=tuple(sorted(field.name for field in workflow.inputs)),
        format=workflow.output_kind.format,
        jobs=tuple(workflow.jobs),
        streams=tuple(answers_in_chunks(each) for each in plan.components.values()),
    )
    assert plan.default_workflow == workflow.id


def test_every_seed_is_there() -> None:
    assert {path.relative_to(SEEDS).as_posix() for path in SEEDS.glob("*/*.yaml")} == {
        f"{language}/{name}.yaml"
        for language in LANGUAGES
        for name in [*ESSENCES, *(f"fragment-{number}" for number in FRAGMENTS)]
    }


# Each fragment stands in the document before it, in the place of the keys it shows.
FRAGMENTS = {1: "04", 2: "04", 3: "06", 4: "06", 5: "04", 6: "04"}


def placed(fragment: str, document: str) -> str:
    """Return a document with the lines of a fragment in the place of the first lines with the same keys."""
    for line in fragment.splitlines():
        key, colon, _ = line.partition(":")
        if colon and not key.startswith("#"):
            document, count = re.subn(rf"(?m)^( +){key}:.*$", lambda m: f"{m[1]}{line}", document, count=1)  # noqa: B023
            assert count == 1
    return document


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("number", FRAGMENTS)
def test_a_fragment_compiles_in_its_place(language: str, number: int) -> None:
    fragment = seed(language, f"fragment-{number}")
    document = placed(fragment, seed(language, FRAGMENTS[number]))
    [component] = compiled(document).components.values()
    [workflow] = compiled(document).workflows.values()
    [action] = component.actions.values()
    fields = dict(action.input.items)  # type: ignore[union-attr]
    format = Constant("text") if number in (2, 6) else Constant("json")
    assert fields["stream_format"] == format
    assert workflow.output_kind.format == {3: "sse-text", 4: "sse-json"}.get(number)
    assert isinstance(action.output, Binding)
    assert action.output.expr.path == (() if number == 2 else ("choices", 0, "delta", "content"))  # type: ignore[union-attr]


def test_streaming_decided_by_the_input_is_a_switch_with_a_default() -> None:
    [workflow] = compiled(seed("en", "08")).workflows.values()
    assert workflow.inputs[0] == InputField("stream", "boolean", default=False, required=False)


def test_conditions_on_the_input_are_its_choices() -> None:
    [workflow] = compiled(seed("en", "15")).workflows.values()
    assert workflow.inputs[1] == InputField("model", "text", required=False, options=("openai", "claude"))
    assert [job.condition_text for job in workflow.jobs.values()] == [
        "${input.model == 'openai'}",
        "${input.model == 'claude'}",
    ]


def test_a_summary_takes_its_translation_as_it_flows() -> None:
    [workflow] = compiled(seed("en", "07")).workflows.values()
    summarize = workflow.jobs["summarize"]
    assert isinstance(summarize, CallJob)
    assert (summarize.flows, summarize.needs) == ({"translate"}, {"translate"})


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_document_in_configs_compiles(path: Path) -> None:
    assert load([path], registry(), ENVIRONMENT).workflows


def warnings(path: Path) -> list[str]:
    mistakes = Mistakes()
    load([path], registry(), ENVIRONMENT, mistakes)
    return [each.message for each in mistakes.warnings]


DOCUMENTS = [*CONFIGS, *(SEEDS / language / f"{name}.yaml" for language in LANGUAGES for name in ESSENCES)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_document_that_says_what_it_means_earns_no_warning(path: Path) -> None:
    # The one that translates names a language that its translator, whose languages are fixed, doesn't read.
    unread = path.stem in ("07", "translate-and-summarize")
    assert warnings(path) == (["component 'translator' doesn't read 'target_lang'"] if unread else [])
