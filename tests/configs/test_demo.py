"""The demo speaks: its model comes with anabranch, needs no network, and says what is true."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from graphs.load import load
from tests.configs.running import TYPES, Served, serving
from tools.tiny_model.evaluate import EMBEDDED

DEMO = Path(__file__).parent.parent.parent / "configs" / "demo.yaml"


@pytest.fixture
async def demo() -> AsyncIterator[Served]:
    async with serving(load([DEMO], TYPES, {})) as served:
        yield served


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("What is anabranch?", ["YAML", "Ray Serve"]),
        ("How do I start it?", ["make serve"]),
        ("How do I use a GPU?", ["num_gpus"]),
        ("How can I find mistakes in my document?", ["anabranch check"]),
        ("How does a stream end?", ["event: end"]),
        ("Who are you?", ["tiny", "anabranch"]),
        ("안녕하세요", ["안녕하세요"]),
        ("你好", ["你好"]),
        ("Who won the football game?", ["don't know"]),
        ("Tell me a story about a dragon.", ["dragon named"]),
    ],
)
async def test_the_likeliest_answer_says_what_is_true(demo: Served, prompt: str, words: list[str]) -> None:
    answer = str((await demo.run({"prompt": prompt, "temperature": 0})).output)
    assert [word for word in words if word not in answer] == [], answer


async def test_a_question_may_follow_on_another(demo: Served) -> None:
    messages = [
        {"role": "user", "content": "My name is Anna."},
        {"role": "assistant", "content": "Nice to meet you, Anna! Ask me about anabranch, or ask me for a story."},
        {"role": "user", "content": "What is my name?"},
    ]
    assert (await demo.run({"messages": messages, "temperature": 0})).output == "Your name is Anna."


async def test_without_a_word_it_says_what_anabranch_is(demo: Served) -> None:
    told = await demo.run({"temperature": 0})
    assert told.streamed
    assert len(told.chunks) > 3
    assert "anabranch" in str(told.output)


async def test_a_story_is_about_what_was_asked_for(demo: Served) -> None:
    told = await demo.run({"about": "Mia and a bear", "temperature": 0}, "story")
    assert told.streamed
    assert "Mia" in str(told.output)
    assert "bear" in str(told.output)


async def test_the_story_that_nobody_asked_for_is_about_a_fox_and_a_kite(demo: Served) -> None:
    story = str((await demo.run({"temperature": 0}, "story")).output)
    assert "fox named" in story
    assert story.count("kite") > 2


async def test_the_answer_comes_whole_when_the_request_says_so(demo: Served) -> None:
    told = await demo.run({"prompt": "Hello!", "stream": False})
    assert not told.streamed
    assert told.output


def test_the_model_is_small_and_says_what_it_is() -> None:
    assert sum(path.stat().st_size for path in EMBEDDED.iterdir()) < 6_000_000
    config = json.loads((EMBEDDED / "config.json").read_text())
    assert (config["model_type"], config["max_position_embeddings"]) == ("llama", 1024)
    assert "Apache-2.0" in (EMBEDDED / "README.md").read_text()
