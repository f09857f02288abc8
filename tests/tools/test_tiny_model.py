"""What the embedded model is taught is true, and the questions it is judged by are not among it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from graphs.cli import main
from graphs.load import load_inline
from tests.configs.running import TYPES
from tools.tiny_model.corpus import documents
from tools.tiny_model.evaluate import held_out, leaked
from tools.tiny_model.topics import read_topics

ROOT = Path(__file__).parent.parent.parent
TOPICS = read_topics()
ANSWERS = [text for topic in TOPICS for text in (*topic.answers, topic.more, topic.example) if text]
EXAMPLES = [block for text in ANSWERS for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
ENVIRONMENT = {"OPENAI_API_KEY": "sk-of-the-test"}
ECHO = {"type": "echo", "text": "${input.text}"}
MODEL = {"type": "model", "task": "text-generation", "model": "gpt2", "text": "${input.text}"}


def test_the_same_seed_gives_the_same_corpus() -> None:
    assert list(documents(50, 7)) == list(documents(50, 7))
    assert list(documents(50, 7)) != list(documents(50, 8))


def test_no_question_that_it_is_judged_by_is_taught() -> None:
    assert len(held_out()) >= 100
    assert list(leaked()) == []


def test_every_topic_has_questions_and_answers() -> None:
    assert [topic.name for topic in TOPICS if not topic.questions or not topic.answers] == []


def placed(data: Any) -> dict[str, Any]:
    """Return the document that a piece of one stands in."""
    match data:
        case {"component": _} | {"components": _}:
            return data
        case {"controller": _} | {"workflow": _}:
            return {"component": ECHO, **data}
        case {"params": params}:
            return {"component": {**MODEL, "params": params}}
        case {"resources": _} | {"autoscaling": _}:
            return {"component": {**ECHO, **data}}
        case [{"type": "switch"}]:
            jobs = [{"id": id, "input": {"text": id}} for id in ("korean", "english")]
            return {"component": ECHO, "workflow": {"jobs": [*data, *jobs]}}
        case [*jobs]:
            return {"component": ECHO, "workflow": {"jobs": jobs}}
        case {"text": _}:
            return {"component": {"type": "echo", **data}}
        case _:
            raise AssertionError(data)


@pytest.mark.parametrize("example", [each for each in EXAMPLES if "applications:" not in each])
def test_an_example_in_an_answer_compiles(example: str) -> None:
    data = yaml.safe_load(example)
    assert load_inline(placed(data), TYPES, ENVIRONMENT).components


def test_a_serve_config_in_an_answer_names_the_builder() -> None:
    [example] = [each for each in EXAMPLES if "applications:" in each]
    [application] = yaml.safe_load(example)["applications"]
    assert application["import_path"] == "graphs.app:build"
    assert (ROOT / application["args"]["config"]).is_file()


def test_files_and_pages_that_answers_name_are_there() -> None:
    named = {name.rstrip(".") for text in ANSWERS for name in re.findall(r"\b(?:docs|configs)/[\w./-]*", text)}
    pages = {name for text in ANSWERS for name in re.findall(r"\b[A-Za-z-]+\.md\b", text)}
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert [name for name in pages if not ((ROOT / name).is_file() or (ROOT / "docs" / name).is_file())] == []


def test_commands_that_answers_name_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    known = set(re.findall(r"^\s+([a-z]+)\b", capsys.readouterr().out, re.MULTILINE))
    named = {name for text in ANSWERS for name in re.findall(r"`anabranch ([a-z]+)", text)}
    assert {"check", "plan", "schema", "serve"} <= named
    assert named <= known


def test_every_make_target_that_an_answer_names_is_there() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {name for text in ANSWERS for name in re.findall(r"`make ([\w-]+)", text)}
    assert named
    assert named <= targets
