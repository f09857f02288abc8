"""What a model thinks is told apart from its answer; a response template that it ships reads all of it."""

import json

import pytest

from deployments.engines.tool_calls.choice import tool_use
from deployments.engines.tool_calls.pieces import CallDelta, ResponseTemplate, Thought, join_calls
from deployments.engines.tool_calls.reading import reading_of
from graphs.errors import InvalidInput

WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"properties": {"days": {"type": "integer"}}}},
}


def thought(parser, *pieces):
    """Return the reasoning and the content that are read from an answer in these pieces."""
    said = [piece for text in pieces for piece in parser.feed(text)] + parser.end()
    reasoning = "".join(piece.text for piece in said if isinstance(piece, Thought))
    return reasoning, "".join(piece for piece in said if isinstance(piece, str))


def reasoning_parser(template, prompt="<|assistant|>\n"):
    parser = reading_of(template, {}).parser(tool_use(None, None))
    if parser is not None:
        parser.begin(prompt)
    return parser


@pytest.mark.parametrize(
    ("template", "prompt", "answer", "read"),
    [
        ("<think> </think>", "A:", "<think>\nHm.\nSo.\n</think>\n\nYes.", ("Hm.\nSo.", "Yes.")),
        ("<think> </think>", "A:<think>\n", "Hm.</think>Yes. </think>", ("Hm.", "Yes. </think>")),
        ("<think> </think>", "A:<think>\n", "<think>Hm.</think>Yes.", ("Hm.", "Yes.")),
        ("<think> </think>", "A:<think>\n\n</think>\n\n", "Yes.", ("", "Yes.")),
        ("<think> </think>", "A:", "\n<think>\n\n</think>\n\nYes.", ("", "Yes.")),
        ("<think> </think>", "A:", "Write <think> first.", ("", "Write <think> first.")),
        ("<think> </think>", "A:", "<thin ice", ("", "<thin ice")),
        ("<think> </think>", "A:<think>", "Hm, and the", ("Hm, and the", "")),
        ("<think> </think>", "A:<think>", "a </thin b </think> c", ("a </thin b", "c")),
        ("[TOOL_CALLS] [THINK]", "[/INST]", "[THINK]Hm.[/THINK]Yes.", ("Hm.", "Yes.")),
        ("<|tool_call>", "<|turn>model\n", "<|channel>thought\nHm.\n<channel|>Yes.", ("Hm.", "Yes.")),
        (
            "<|channel|>analysis",
            "<|start|>assistant",
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.",
            ("Hm.", "Yes."),
        ),
        (
            "<|open|> <|close|>",
            "<|open|>think<|sep|>",
            "Hm.<|close|>think<|sep|><|open|>response<|sep|>Yes.<|close|>response<|sep|>",
            ("Hm.", "Yes."),
        ),
    ],
)
def test_reasoning_is_told_apart_however_the_answer_is_cut(template, prompt, answer, read):
    assert thought(reasoning_parser(template, prompt), answer) == read
    assert thought(reasoning_parser(template, prompt), *answer) == read
    for at in range(len(answer)):
        assert thought(reasoning_parser(template, prompt), answer[:at], answer[at:]) == read


def test_a_model_whose_template_knows_no_reasoning_has_none():
    assert reasoning_parser("{{ messages }}") is None
    assert reading_of("<think>", {"reasoning_parser": "none"}).parser(tool_use(None, None)) is None


def test_an_answer_that_a_grammar_holds_to_a_schema_has_no_reasoning():
    reading = reading_of("<think> <tool_call>", {})
    assert reading.parser(tool_use(None, None), enforced=True) is None
    assert reading.tags(tool_use([WEATHER], "required"), enforced=True) == ()
    demanded = reading.parser(tool_use([WEATHER], "required"), enforced=True)
    assert demanded.feed('[{"name": "get_weather", "arguments": {}}]')
    assert demanded.called


def test_an_unknown_reasoning_parser_is_refused_with_the_nearest():
    with pytest.raises(InvalidInput, match=r"expected a reasoning_parser, one of qwen3.*'qwen'; did you mean 'qwen3'"):
        reading_of(None, {"reasoning_parser": "qwen"})


TEMPLATE = {
    "start_anchor": "<|im_start|>assistant\n",
    "defaults": {"role": "assistant"},
    "fields": {
        "thinking": {"open": "<think>", "close": "</think>"},
        "tool_calls": {
            "open_pattern": r"\s*<tool_call>",
            "close": "</tool_call>",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"optional": False},
    },
}
"""A response template as models ship them."""


def shipped(prompt, pieces):
    reading = reading_of("<think> [TOOL_CALLS]", {}, ResponseTemplate(TEMPLATE, ["<tool_call>"]))
    use = tool_use([WEATHER], None)
    assert reading.tags(use) == ("<tool_call>",)
    parser = reading.parser(use)
    parser.begin(prompt)
    said = [piece for text in pieces for piece in parser.feed(text)] + parser.end()
    calls = join_calls(piece for piece in said if isinstance(piece, CallDelta))
    assert parser.called == bool(calls)
    return (
        "".join(piece.text for piece in said if isinstance(piece, Thought)),
        "".join(piece for piece in said if isinstance(piece, str)),
        [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls],
    )


@pytest.mark.parametrize(
    ("prompt", "answer", "read"),
    [
        ("", "<think>\nHm.\n</think>\n\nYes.\n", ("Hm.", "Yes.", [])),
        (
            "<think> Hi<|im_start|>assistant\n<think>\n",
            "Hm.</think>\n<tool_call>\n" + '{"name": "get_weather", "arguments": {"days": "3"}}</tool_call>\nSo?',
            ("Hm.", "So?", [("get_weather", {"days": 3})]),
        ),
        ("", "A <tool_call>{broken</tool_call> B", ("", "A{brokenB", [])),
        ("", 'A <tool_call>{"name": 3}</tool_call>', ("", 'A{"name": 3}', [])),
        ("", 'A <tool_call>{"name": "get_', ("", 'A{"name": "get_', [])),
        ("", "<tool_call>no</tool_call><tool_call>neither</tool_call>", ("", "noneither", [])),
    ],
)
def test_a_response_template_that_a_model_ships_reads_its_answers_however_they_are_cut(prompt, answer, read):
    assert shipped(prompt, [answer]) == read
    assert shipped(prompt, answer) == read
    for at in range(len(answer)):
        assert shipped(prompt, [answer[:at], answer[at:]]) == read


def test_what_a_document_says_counts_before_what_a_model_ships():
    template = ResponseTemplate(TEMPLATE, ())
    assert reading_of("", {}, template).template is template
    assert reading_of("", {"tool_parser": "hermes"}, template).template is None
