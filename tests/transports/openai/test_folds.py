"""What an SDK folds of the chunks of a stream is the answer that isn't streamed."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from deployments.conversations.pieces import CallPiece, Ended, Piece, Refusal, Thought
from deployments.transports.openai.chat import ChatEncoder
from deployments.transports.openai.completions import CompletionEncoder
from deployments.transports.piece_answer import Encoder

TEXT = st.text(min_size=1, max_size=5)
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


@st.composite
def calls(draw: st.DrawFn) -> list[Piece]:
    """The pieces of calls, each one's in their order, those of different calls mixed."""
    counts = draw(st.lists(st.integers(0, 3), max_size=3))
    left = {
        index: [
            CallPiece(index, f"call_{index}", draw(TEXT)),
            *(CallPiece(index, arguments=draw(TEXT)) for _ in range(count)),
        ]
        for index, count in enumerate(counts)
    }
    mixed: list[Piece] = []
    while left:
        index = draw(st.sampled_from(sorted(left)))
        mixed.append(left[index].pop(0))
        left = {each: pieces for each, pieces in left.items() if pieces}
    return mixed


@st.composite
def answers(draw: st.DrawFn) -> list[Piece]:
    said: list[Piece] = draw(st.lists(st.one_of(TEXT, st.builds(Thought, TEXT), st.builds(Refusal, TEXT)), max_size=6))
    called = draw(calls())
    usage = draw(st.sampled_from([None, USAGE]))
    return [*said, *called, Ended(draw(st.sampled_from(["stop", "length", "tool_calls"])), usage)]


def both(streaming: Encoder, whole: Encoder, choices: list[list[Piece]]) -> tuple[list[Any], Any]:
    body = b"".join(streaming.encode(index, [piece]) for index, pieces in enumerate(choices) for piece in pieces)
    *events, done, _ = (body + streaming.end()).decode().split("\n\n")
    assert done == "data: [DONE]"
    for index, pieces in enumerate(choices):
        whole.add(index, pieces)
    return [json.loads(event.removeprefix("data: ")) for event in events], json.loads(json.dumps(whole.whole()))


def folded(chunks: list[Any]) -> dict[int, Any]:
    """The choices as OpenAI's SDKs fold them: texts are joined, calls by their index."""
    choices: dict[int, Any] = {}
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        its = choices.setdefault(choice["index"], {"message": {}, "calls": {}})
        its["finish_reason"] = choice["finish_reason"]
        for name, value in choice["delta"].items():
            if name == "tool_calls":
                for delta in value:
                    call = its["calls"].setdefault(delta["index"], {"function": {"arguments": ""}})
                    arguments = call["function"]["arguments"] + delta["function"]["arguments"]
                    call.update({key: item for key, item in delta.items() if key not in ("index", "function")})
                    call["function"].update({**delta["function"], "arguments": arguments})
            elif name == "role":
                assert its["message"] == {}
                its["message"]["role"] = value
            else:
                its["message"][name] = its["message"].get(name, "") + value
    return choices


@given(st.lists(answers(), min_size=1, max_size=3))
def test_the_fold_of_a_chat_is_the_whole_answer(choices: list[list[Piece]]) -> None:
    count = len(choices)
    streaming, whole = (ChatEncoder("run_1", "m", count, with_usage=True) for _ in range(2))
    chunks, answer = both(streaming, whole, choices)
    fold = folded(chunks)
    for choice in answer["choices"]:
        its, message = fold[choice["index"]], choice["message"]
        assert its["finish_reason"] == choice["finish_reason"]
        assert [call for _, call in sorted(its["calls"].items())] == message.pop("tool_calls", [])
        given = {name: value for name, value in message.items() if value is not None}
        assert {name: value for name, value in its["message"].items() if value or name in given} == given
    assert chunks[-1].get("usage") == answer.get("usage")
    assert len({(each["id"], each["created"], each["model"]) for each in chunks}) == 1


@given(st.lists(answers(), min_size=1, max_size=3))
def test_the_fold_of_a_completion_is_the_whole_answer(choices: list[list[Piece]]) -> None:
    echo = [f"prompt {index}" for index in range(len(choices))]
    streaming, whole = (
        CompletionEncoder("run_1", "m", len(choices), with_usage=True, echo=list(echo)) for _ in range(2)
    )
    chunks, answer = both(streaming, whole, choices)
    for choice in answer["choices"]:
        its = [each for chunk in chunks for each in chunk["choices"] if each["index"] == choice["index"]]
        assert "".join(each["text"] for each in its) == choice["text"]
        assert [each["finish_reason"] for each in its][-1] == choice["finish_reason"]
    assert chunks[-1].get("usage") == answer.get("usage")
