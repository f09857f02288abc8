"""The recorded answers of nine families of models are read: reasoning, content and calls of tools."""

import json
import random
from functools import cache

import pytest

from deployments.engines.tool_calls import reasoning
from deployments.engines.tool_calls.choice import tool_use
from deployments.engines.tool_calls.pieces import CallDelta, Thought, join_calls
from deployments.engines.tool_calls.reading import Reading
from deployments.engines.tool_calls.styles import STYLES

recorded = pytest.importorskip("canitoolcall.fixtures", reason="the package canitoolcall isn't installed")

# For each family: what its models are named, and by which names their answers are read; the first that fits counts.
READERS = {
    "deepseek": [
        ("DeepSeek-V3-", "deepseek_v3", "qwen3"), ("DeepSeek-V3.1", "deepseek_v3", "qwen3"), ("", "deepseek_v32", "qwen3"),
    ],
    "gemma4": [("", "gemma4", "gemma4")],
    "glm": [("", "glm45", "qwen3")],
    "gpt-oss": [("", "openai", "none")],
    "kimi": [("Kimi-K3", "kimi_k3", "kimi_k3"), ("", "kimi_k2", "qwen3")],
    "llama": [("Llama-4", "llama4_pythonic", "none"), ("", "llama3_json", "none")],
    "mistral": [("", "mistral", "mistral")],
    "qwen3-hermes": [("", "hermes", "qwen3")],
    "qwen3-xml": [("", "qwen3_coder", "qwen3_coder")],
}  # fmt: skip

# Answers that were cut off within a second call: its text shows, as content or as arguments that are not all there.
CUT = "truncated-second-parallel-call"
MISREAD = {
    "deepseek/v32-" + CUT: "content",
    "deepseek/v4-" + CUT: "content",
    "deepseek/v41-" + CUT: "content",
    "gemma4/" + CUT: "content",
    "qwen3-hermes/" + CUT: "calls",
    # The tag that closes the last argument is missing.
    "glm/glm47-missing-last-close-arg-value": "calls, content",
    # Code for a tool that nobody offered: part of how the model thinks, so that nothing of the answer is lost.
    "gpt-oss/llamacpp-builtin-python-recipient": "reasoning",
    # Noise between the tags that open a section and a call.
    "kimi/k2i-vllm-noise-between-markers": "content",
}


@cache
def families():
    return recorded.load_families()


@cache
def fixtures(family):
    return [fixture for fixture in recorded.load_fixtures() if fixture.family == family]


def read(fixture, pieces):
    """Return the content, the reasoning and the calls of a recorded answer that comes in these pieces."""
    model = fixture.models[0]
    style, thinking = next((a, b) for sign, a, b in READERS[fixture.family] if sign in model)
    use = tool_use(list(fixture.tools), None)
    parser = Reading(STYLES[style], reasoning.THINKING[thinking]).parser(use)
    if parser is None:
        return "".join(pieces), "", []
    prompt = fixture.generation_prompt
    if prompt is None:
        prompt = families()[fixture.family].reference_for(model).default_generation_prompt or ""
    parser.begin(prompt)
    said = [piece for text in pieces for piece in parser.feed(text)] + parser.end()
    calls = join_calls(piece for piece in said if isinstance(piece, CallDelta))
    return (
        "".join(piece for piece in said if isinstance(piece, str)),
        "".join(piece.text for piece in said if isinstance(piece, Thought)),
        [(call["function"]["name"], call["function"]["arguments"]) for call in calls],
    )


def cuts(fixture):
    """Return the answer in pieces: characters, pieces as long as tokens, and long ones."""
    text = fixture.raw_output
    chance = random.Random(fixture.id)
    yield list(text)
    for longest in (4, 8, 40):
        pieces, at = [], 0
        while at < len(text):
            size = chance.randint(1, longest)
            pieces.append(text[at : at + size])
            at += size
        yield pieces


def wrong(fixture):
    """Return which parts of an answer are read otherwise than they should be; blanks around a text don't count."""
    content, thought, calls = read(fixture, [fixture.raw_output])
    wanted = fixture.expected
    try:
        read_calls = [(name, json.loads(arguments)) for name, arguments in calls]
    except ValueError:
        read_calls = None
    parts = {
        "calls": read_calls == [(call.name, call.arguments) for call in wanted.tool_calls],
        "content": content.strip() == (wanted.content or "").strip(),
        "reasoning": thought.strip() == (wanted.reasoning_content or "").strip(),
    }
    return ", ".join(name for name, right in parts.items() if not right)


@pytest.mark.parametrize("family", READERS)
def test_recorded_answers_are_read_right_but_for_the_known_ones(family):
    judged = [fixture for fixture in fixtures(family) if fixture.expected is not None]
    assert judged
    misread = {fixture.id: found for fixture in judged if (found := wrong(fixture))}
    assert misread == {id: parts for id, parts in MISREAD.items() if id.startswith(f"{family}/")}


@pytest.mark.parametrize("family", READERS)
def test_recorded_answers_say_the_same_however_they_are_cut(family):
    assert fixtures(family)
    for fixture in fixtures(family):
        whole = read(fixture, [fixture.raw_output])
        for pieces in cuts(fixture):
            assert read(fixture, pieces) == whole, fixture.id
