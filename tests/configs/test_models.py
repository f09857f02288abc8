"""The documents over hub models run as they are written, with a tiny model of the same kind in each one's place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from graphs.load import load_inline
from graphs.plan import Plan
from tests.configs.running import TYPES, serving
from tests.engines import tiny

ROOT = Path(__file__).parent.parent.parent
SEEDS = ROOT / "tests" / "seeds"
KINDS = {
    "gpt2": "gpt2",
    "microsoft/DialoGPT-medium": "dialogpt",
    "facebook/bart-large-cnn": "bart",
    "Helsinki-NLP/opus-mt-ko-en": "marian",
}
EXAMPLES = {
    "01": "summarize",
    "02": "generate",
    "03": "dialogue",
    "07": "translate-and-summarize",
    "08": "stream-by-input",
    "09": "chat-with-ui",
    "10": "generate-fast",
    "14": "translate",
}
INPUT = {"text": "안녕하세요, 강이 흘러요.", "prompt": "Once upon a time", "message": "Hello there!"}
ROOM = 64
"""Tokens of an answer that a tiny model has room for."""


def document(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def with_tiny_models(path: Path, **fields: Any) -> Plan:
    """Return the plan with tiny models for the hub's, and these fields on each component that streams."""
    data = document(path)
    for component in data.get("components") or [data["component"]]:
        component["model"] = str(tiny.model(KINDS[component["model"]]))
        action = component.get("action", component)
        params = action.get("params", {})
        action["params"] = {**params, "max_output_length": min(params.get("max_output_length", ROOM), ROOM)}
        if component["streaming"] is True:
            component |= fields
    return load_inline(data, TYPES, {})


@pytest.mark.parametrize(("seed", "name"), EXAMPLES.items())
def test_a_document_is_the_seeds(seed: str, name: str) -> None:
    assert document(ROOT / "configs" / f"{name}.yaml") == document(SEEDS / "en" / f"{seed}.yaml")


@pytest.mark.parametrize("language", ["en", "ko", "zh"])
@pytest.mark.parametrize("seed", EXAMPLES)
async def test_a_stream_is_what_the_whole_answer_would_be(language: str, seed: str) -> None:
    path = SEEDS / language / f"{seed}.yaml"
    async with serving(with_tiny_models(path)) as served:
        streamed = await served.run({**INPUT, "stream": True})
    async with serving(with_tiny_models(path, streaming=False)) as served:
        whole = await served.run({**INPUT, "stream": False})
    assert (streamed.streamed, whole.streamed) == (True, False)
    assert len(streamed.chunks) > 1
    assert streamed.output == whole.output == "".join(streamed.chunks)


async def test_the_input_decides_about_streaming() -> None:
    async with serving(with_tiny_models(ROOT / "configs" / "stream-by-input.yaml")) as served:
        assert (await served.run({"prompt": "Hello", "stream": True})).streamed
        assert not (await served.run({"prompt": "Hello"})).streamed


async def test_a_stream_ends_with_what_was_used() -> None:
    async with serving(with_tiny_models(ROOT / "configs" / "generate.yaml")) as served:
        told = await served.run(INPUT)
    assert told.notes[-1]["finish_reason"] in ("stop", "length")
    assert told.notes[-1]["usage"]["completion_tokens"] > 0
