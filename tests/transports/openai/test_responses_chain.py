"""Responses that continue others: what the workflow hears of what was said before, wherever it was said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deployments.gateway.gateway import Gateway
from deployments.transports.openai.responses.respond import respond
from tests.transports.openai.responding import CALL, REST, THOUGHT, TOOL, Talks, create, made, streamed
from tests.transports.served import Feed, one, plan
from tests.transports.tasks_api import two

OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "4 °C"}
CALLED = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"city": "Seoul"}'}}


def cold() -> Talks:
    """Thinks and calls a tool; answers with text; answers again."""
    return Talks(Feed(THOUGHT, CALL, REST), Feed("It is", " 4 °C"), Feed("Yes"))


async def test_a_chain_of_three_with_a_tool_is_heard_in_order_at_any_replica_and_after_a_restart(
    tmp_path: Path,
) -> None:
    talks = cold()
    async with two(talks, tmp_path, one()) as served:
        first = await made(served, "How cold is it?", instructions="Be brief.", tools=[TOOL])
        asking = {"tools": [TOOL], "previous_response_id": first["id"]}
        second = (await streamed(served, at=1, input=[OUTPUT], **asking))[-1]["response"]
    async with two(talks, tmp_path, one()) as served:
        third = await made(served, "Sure?", at=1, previous_response_id=second["id"], instructions="Be polite.")
    user, call, result, answer, last = (
        {"role": "user", "content": "How cold is it?"},
        {"role": "assistant", "content": "", "reasoning_content": "Hm. ", "tool_calls": [CALLED]},
        {"role": "tool", "tool_call_id": "call_1", "content": "4 °C"},
        {"role": "assistant", "content": "It is 4 °C"},
        {"role": "user", "content": "Sure?"},
    )
    heard = [asked["messages"] for asked in talks.asked]
    assert heard == [
        [{"role": "system", "content": "Be brief."}, user],
        [user, call, result],
        [{"role": "system", "content": "Be polite."}, user, call, result, answer, last],
    ]
    assert [each["previous_response_id"] for each in (first, second, third)] == [None, first["id"], second["id"]]
    assert talks.asked[0]["tools"] == [
        {"type": "function", "function": {key: TOOL[key] for key in ("name", "parameters")}}
    ]


async def test_an_item_is_referred_to_by_its_id_in_the_chain_or_in_any_stored_response(tmp_path: Path) -> None:
    talks = cold()
    async with two(talks, tmp_path, one()) as served:
        first = await made(served, "How cold is it?", tools=[TOOL])
        references = [{"type": "item_reference", "id": item["id"]} for item in first["output"]]
        listed = (await served.ask("GET", f"/v1/responses/{first['id']}/input_items")).json["data"]
        both = [{"id": listed[0]["id"]}, *references, OUTPUT]
        second = await made(served, both, at=1)
        shown = (await served.ask("GET", f"/v1/responses/{second['id']}/input_items?order=asc")).json["data"]
        assert shown[:-1] == [*listed, *first["output"]]
        await made(served, [references[0], {"role": "user", "content": "x"}], previous_response_id=second["id"])
    assert [message["role"] for message in talks.asked[1]["messages"]] == ["user", "assistant", "tool"]
    assert talks.asked[1]["messages"][1]["tool_calls"] == [CALLED]


async def test_an_unknown_reference_is_refused_by_its_place(tmp_path: Path) -> None:
    async with two(Talks(), tmp_path, one()) as served:
        for id in ("msg_7_0", "x", "msg_7_"):
            refused = await create(served, ["a", {"type": "item_reference", "id": id}][1:])
            assert (refused.status, refused.json["error"]["param"]) == (400, "input[0].id")
            assert f"there is no item '{id}'" in refused.json["error"]["message"]


async def test_an_unknown_previous_response_is_404_by_its_code(tmp_path: Path) -> None:
    async with two(Talks(), tmp_path, one()) as served:
        for id in ("resp_0", "x"):
            refused = await create(served, previous_response_id=id)
            error = refused.json["error"]
            assert (refused.status, error["code"], error["param"]) == (
                404,
                "previous_response_not_found",
                "previous_response_id",
            )
            assert error["message"].startswith(f"previous_response_id: there is no response '{id}'")


async def test_a_chain_whose_middle_was_deleted_says_which_response_is_gone(tmp_path: Path) -> None:
    async with two(Talks(Feed("a"), Feed("b")), tmp_path, one()) as served:
        first = await made(served)
        second = await made(served, previous_response_id=first["id"])
        await served.ask("DELETE", f"/v1/responses/{first['id']}")
        refused = await create(served, previous_response_id=second["id"])
        assert (refused.status, refused.json["error"]["code"]) == (404, "previous_response_not_found")
        assert f"'{first['id']}'" in refused.json["error"]["message"]
        assert f"which led to '{second['id']}'" in refused.json["error"]["message"]


async def test_a_response_without_its_answer_is_not_continued(tmp_path: Path) -> None:
    async with two(Talks(Feed("a", ends=False)), tmp_path, one()) as served:
        id = (await made(served, background=True))["id"]
        for status in ("(queued|in_progress)", "cancelled"):
            refused = await create(served, previous_response_id=id, at=1)
            assert (refused.status, refused.json["error"]["param"]) == (400, "previous_response_id")
            assert any(
                f"is {each}; only one" in refused.json["error"]["message"] for each in status.strip("()").split("|")
            )
            await served.ask("POST", f"/v1/responses/{id}/cancel")


async def test_the_result_of_a_tool_whose_call_is_not_in_the_chain_is_refused_by_its_place(tmp_path: Path) -> None:
    async with two(Talks(Feed("a")), tmp_path, one()) as served:
        first = await made(served)
        for before in ({}, {"previous_response_id": first["id"]}):
            refused = await create(served, [{"role": "user", "content": "a"}, OUTPUT], **before)
            assert (refused.status, refused.json["error"]["param"]) == (400, "input[1].call_id")


async def test_responses_that_are_not_stored_are_continued_by_who_remembers_them() -> None:
    talks = cold()
    gateway = Gateway(plan(one()), talks)
    remembered: dict[str, Any] = {}
    previous = None
    for input in ("How cold is it?", [OUTPUT], "Sure?"):
        asking = {"model": "story", "input": input, "store": False, "previous_response_id": previous}
        run = await respond(gateway, asking, remembered)
        response = await run.whole()
        assert (run.stored, run.answered, response["previous_response_id"]) == (False, True, previous)
        previous = run.id
        remembered = {previous: run.said()}
    assert [message["role"] for message in talks.asked[2]["messages"]] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert [item["type"] for item in remembered[previous or ""]] == [
        "message", "reasoning", "function_call", "function_call_output", "message", "message", "message",
    ]  # fmt: skip
    await gateway.aclose()
