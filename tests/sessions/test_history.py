"""What a model is sent of a session, and what is remembered of an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deployments.gateway.entries import Entry, LogEvent
from deployments.runs.events import Delta, Finished, RunCancelled, RunFailed
from deployments.sessions.history import Folding, Limits, for_model, stored
from deployments.store.rows import TurnRow, TurnState
from graphs.errors import ComponentFailed

MUCH = Limits(100, 10_000)
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def result(id: str = "c1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": "found"}


def turn(*said: dict[str, Any], state: TurnState = "complete") -> TurnRow:
    """A turn; the assistant's message is its answer."""
    *asked, last = said
    answer = last if last["role"] == "assistant" else None
    asked = asked if answer is not None else list(said)
    return TurnRow(
        1, "run", stored(asked), None, None if answer is None else stored(answer), state, 0.0, 0.0, "completed"
    )


def sent(*turns: TurnRow, new: Any = None, limits: Limits = MUCH, system: str | None = None) -> list[Any]:
    return for_model(system, turns, new or [user("new")], limits)


def test_all_that_was_said_is_sent_behind_the_system_prompt() -> None:
    assert sent(turn(user("a"), assistant("b")), system="Be brief.") == [
        {"role": "system", "content": "Be brief."},
        user("a"),
        assistant("b"),
        user("new"),
    ]


def test_the_oldest_questions_go_first_with_their_answers() -> None:
    turns = [turn(user(f"q{index}"), assistant(f"a{index}")) for index in range(5)]
    assert [each["content"] for each in sent(*turns, limits=Limits(5, 10_000))] == ["q3", "a3", "q4", "a4", "new"]
    assert [each["content"] for each in sent(*turns, limits=Limits(6, 10_000))] == ["q3", "a3", "q4", "a4", "new"]


def test_characters_are_counted_with_the_system_prompt() -> None:
    turns = [turn(user("x" * 40), assistant("y" * 40)) for _ in range(5)]
    said = sent(*turns, limits=Limits(100, 200), system="s" * 20)
    assert [len(each["content"]) for each in said] == [20, 40, 40, 40, 40, 3]


def test_the_new_message_and_the_system_prompt_always_stay() -> None:
    new = [user("x" * 1000)]
    assert sent(turn(user("a"), assistant("b")), new=new, limits=Limits(1, 10), system="s") == [
        {"role": "system", "content": "s"},
        *new,
    ]


@pytest.mark.parametrize("state", ["cut", "failed"])
def test_what_was_cut_is_sent_as_far_as_it_came(state: TurnState) -> None:
    assert sent(turn(user("a"), assistant("half"), state=state)) == [user("a"), assistant("half"), user("new")]


def test_a_question_without_an_answer_is_sent_in_one_message_with_the_next() -> None:
    assert sent(turn(user("a"), state="failed"), turn(user("b"), state="cut")) == [user("a\n\nb\n\nnew")]
    parts = [{"type": "text", "text": "b"}]
    assert sent(turn(user("a"), state="failed"), new=[{"role": "user", "content": parts}]) == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, *parts]}
    ]


def test_an_empty_answer_is_not_sent() -> None:
    assert sent(turn(user("a"), assistant(""))) == [user("a\n\nnew")]


def test_a_call_goes_with_its_result_or_not_at_all() -> None:
    calling = turn(user("a"), assistant("", tool_calls=[CALL]))
    assert sent(calling, new=[result()]) == [user("a"), assistant("", tool_calls=[CALL]), result()]
    assert sent(calling, new=[result()], limits=Limits(1, 1)) == [user("a"), assistant("", tool_calls=[CALL]), result()]
    assert sent(calling) == [user("a\n\nnew")]
    assert sent(turn(user("a"), assistant("Look:", tool_calls=[CALL]))) == [user("a"), assistant("Look:"), user("new")]
    assert sent(calling, turn(result(), assistant("There.")), limits=Limits(4, 10_000)) == [user("new")]
    assert sent(calling, turn(result(), assistant("There."))) == [
        user("a"),
        assistant("", tool_calls=[CALL]),
        result(),
        assistant("There."),
        user("new"),
    ]


def test_a_result_without_its_call_is_not_sent() -> None:
    assert sent(turn(result("lost"), assistant("b"))) == [assistant("b"), user("new")]


# --- what is remembered ----------------------------------------------------------------------------------------------


def folded(*events: LogEvent) -> tuple[str, Any]:
    folding = Folding("run_1", None)
    for number, event in enumerate(events):
        folding.add(Entry(number, 5.0 + number, event))
    settled = folding.settled()
    return settled.state, None if settled.answer is None else json.loads(settled.answer)


def test_an_answer_is_its_chunks_joined() -> None:
    done = Finished(None, streamed=True)
    assert folded(Delta(["Once ", "upon"]), done) == ("complete", assistant("Once upon"))
    assert folded(Finished("Once", streamed=False)) == ("complete", assistant("Once"))
    assert folded(done) == ("complete", assistant(""))


def test_what_was_said_before_a_failure_is_remembered() -> None:
    assert folded(Delta(["half"]), RunFailed(ComponentFailed("x"))) == ("failed", assistant("half"))
    assert folded(Delta(["half"]), RunCancelled()) == ("cut", assistant("half"))
    assert folded(RunFailed(ComponentFailed("x"))) == ("failed", None)
    assert folded() == ("failed", None)


def test_calls_that_were_cut_in_the_middle_are_not() -> None:
    half = {**CALL, "index": 1, "id": "c2", "function": {"name": "look", "arguments": '{"a'}}
    chunks = [{"tool_calls": [{**CALL, "index": 0}]}, {"tool_calls": [half]}]
    assert folded(Delta(chunks), RunCancelled()) == ("cut", assistant("", tool_calls=[CALL]))


def test_any_text_can_be_stored() -> None:
    text = stored({"content": "\ud800 \0 한글 👩‍👧"})
    assert "\0" not in text
    text.encode()
    assert json.loads(text) == {"content": "\ud800 \0 한글 👩‍👧"}
