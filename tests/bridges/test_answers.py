"""What a client asks by MQTT is answered where and how it asks for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from graphs.errors import ComponentFailed
from tests.bridges.bridged import bridge, bridged
from tests.bridges.clients import ANSWERS, ERRORS, STATUS, V5, V311, asker, in_order, joined
from tests.bridges.mosquitto import Mosquitto
from tests.sessions.talking import Echo, Told, sessions
from tests.transports.served import answering, one

VERSIONS = pytest.mark.parametrize("version", [V5, V311])


@VERSIONS
async def test_a_plain_text_is_answered_as_one_plain_text_in_a_session_of_its_own(
    broker: Mosquitto, tmp_path: Path, version: int
) -> None:
    async with bridged(Echo(), tmp_path, bridge(broker.port)), asker(broker.port, version) as client:
        await client.ask(b"how warm is it")
        await client.until(lambda got: any(each.topic.startswith(ANSWERS) for each in got))
        (answer,) = [each for each in client.messages if each.topic.startswith(ANSWERS)]
        assert answer.payload == b"how warm is it "
        assert answer.topic.startswith(f"{ANSWERS}/session_")
        assert answer.qos == 1
        assert not answer.retain


@VERSIONS
async def test_json_is_answered_on_the_topic_of_its_session_client_and_request(
    broker: Mosquitto, tmp_path: Path, version: int
) -> None:
    async with bridged(Echo(), tmp_path, bridge(broker.port)), asker(broker.port, version) as client:
        await client.ask({"sessionId": "s", "message": "one two"})
        await client.ask({"sessionId": "s", "clientId": "c", "requestId": "r", "message": "three"})
        await client.ask({"sessionId": "s", "replyTopic": f"{ANSWERS}/s/mine", "message": "four"})
        assert (await client.next(f"{ANSWERS}/s"))[0].payload == b"one two "
        assert (await client.next(f"{ANSWERS}/s/c/r"))[0].payload == b"three "
        assert (await client.next(f"{ANSWERS}/s/mine"))[0].payload == b"four "


@VERSIONS
async def test_a_streamed_answer_comes_in_numbered_messages_while_it_is_made(
    broker: Mosquitto, tmp_path: Path, version: int
) -> None:
    model, topic = Told(), f"{ANSWERS}/s/c/r"
    async with bridged(model, tmp_path, bridge(broker.port)), asker(broker.port, version) as client:
        await client.ask({"sessionId": "s", "clientId": "c", "requestId": "r", "message": "go", "stream": True})
        model["go"].give("하나 ")
        assert (await client.next(topic))[0].json == {"requestId": "r", "seq": 0, "content": "하나 "}
        model["go"].give("two")
        model["go"].end()
        assert await client.text(topic) == "하나 two"
        assert in_order(client.of(topic))[-1] == {"requestId": "r", "seq": 2, "done": True, "sessionId": "s"}


async def test_a_request_of_mqtt_5_is_answered_on_its_response_topic_with_its_correlation_in_every_message(
    broker: Mosquitto, tmp_path: Path
) -> None:
    topic = f"{ANSWERS}/anything/else"
    async with bridged(Echo(), tmp_path, bridge(broker.port, expiry=77.0)), asker(broker.port) as client:
        asked = {"message": "a b c", "stream": True}
        await client.ask(asked, ResponseTopic=topic, CorrelationData=b"\x00\xff")
        assert await client.text(topic) == "a b c "
        for each in client.of(topic):
            assert each.properties["CorrelationData"] == b"\x00\xff"
            assert each.properties["ContentType"] == "application/json"
            assert 0 < each.properties["MessageExpiryInterval"] <= 77
        await client.ask(b"plain", ResponseTopic=f"{topic}/2", CorrelationData=b"2")
        (whole,) = await client.next(f"{topic}/2")
        assert (whole.payload, whole.properties["ContentType"]) == (b"plain ", "text/plain")
        assert whole.properties["CorrelationData"] == b"2"


async def test_messages_of_one_session_are_its_turns_in_order(broker: Mosquitto, tmp_path: Path) -> None:
    model = Echo()
    async with bridged(model, tmp_path, bridge(broker.port)) as served, asker(broker.port, V311) as client:
        for number in range(12):
            await client.ask({"sessionId": "s", "message": f"m{number}", "systemPrompt": "Be brief."})
        await client.next(f"{ANSWERS}/s", 12)
        said = [each.payload.decode() for each in client.of(f"{ANSWERS}/s")]
        assert said == [f"m{number} " for number in range(12)]
        turns = (await sessions(served.gateway).history("s", None, 100)).turns
        assert [json.loads(each.said)[0]["content"] for each in turns] == [f"m{number}" for number in range(12)]
    assert model.sent[2][0] == {"role": "system", "content": "Be brief."}
    assert [each["content"] for each in model.sent[2][1:]] == ["m0", "m0 ", "m1", "m1 ", "m2"]


async def test_a_question_that_comes_again_is_not_answered_again(broker: Mosquitto, tmp_path: Path) -> None:
    model = Echo()
    async with bridged(model, tmp_path, bridge(broker.port)), asker(broker.port) as client:
        asked = {"sessionId": "s", "clientId": "c", "requestId": "1", "message": "once", "stream": True}
        for _ in range(3):
            await client.ask(asked)
        await client.ask({**asked, "message": "another"})
        await client.ask({**asked, "clientId": "d", "message": "of another client"})
        assert await client.text(f"{ANSWERS}/s/d/1") == "of another client "
        await client.until(lambda _: any("error" in each.json for each in client.of(f"{ANSWERS}/s/c/1")))
        answers = client.of(f"{ANSWERS}/s/c/1")
        chunks = [each for each in answers if "seq" in each.json]
        assert joined(chunks) == "once "
        assert len(chunks) == len(in_order(chunks))
        (refused,) = [each.json for each in answers if "seq" not in each.json]
        assert refused["requestId"] == "1"
        assert "belongs to another message" in refused["error"]
    assert len(model.sent) == 2


async def test_a_failure_ends_a_stream_and_stands_in_place_of_a_whole_answer(broker: Mosquitto, tmp_path: Path) -> None:
    model = Told()
    async with bridged(model, tmp_path, bridge(broker.port)), asker(broker.port) as client:
        asked = {"sessionId": "s", "clientId": "c", "message": "x"}
        await client.ask({**asked, "requestId": "1", "stream": True})
        model["x"].give("half")
        await client.next(f"{ANSWERS}/s/c/1")
        model["x"].fail(ComponentFailed("it broke"))
        await client.text(f"{ANSWERS}/s/c/1")
        last = in_order(client.of(f"{ANSWERS}/s/c/1"))[-1]
        assert last["seq"] == 1
        assert "it broke" in last["error"]
        await client.ask({**asked, "message": "y", "requestId": "2"})
        model["y"].fail(ComponentFailed("it broke"))
        (whole,) = await client.next(f"{ANSWERS}/s/c/2")
        assert whole.json["requestId"] == "2"
        assert "it broke" in whole.json["error"]


async def test_long_texts_are_cut_to_what_a_message_may_hold_and_a_whole_one_is_refused(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with (
        bridged(answering("é" * 20_000), tmp_path, bridge(broker.port, max_message_size=4096)),
        asker(broker.port) as client,
    ):
        await client.ask({"sessionId": "s", "message": "x", "stream": True})
        assert await client.text(f"{ANSWERS}/s") == "é" * 20_000
        assert all(len(each.payload) <= 4096 for each in client.messages)
        await client.ask({"sessionId": "t", "message": "x"})
        assert "too large" in (await client.next(f"{ANSWERS}/t"))[0].json["error"]


async def test_what_the_broker_calls_too_large_is_told_as_an_error(tmp_path: Path, program: str) -> None:
    broker = Mosquitto(tmp_path, program, "max_packet_size 2000")
    broker.start()
    try:
        async with bridged(answering("x" * 5000), tmp_path, bridge(broker.port)), asker(broker.port) as client:
            await client.ask({"sessionId": "s", "message": "x"})
            assert "too large" in (await client.next(f"{ANSWERS}/s"))[0].json["error"]
    finally:
        broker.stop()


BAD = {
    b'{"message": ': "is not JSON",
    b"\xff\xfe": "is not UTF-8",
    b"": "it is empty",
    b'{"message": "x", "maxtokens": 3}': "did you mean 'maxTokens'?",
    b'{"message": "x", "temperature": "hot"}': "temperature: expected",
    b'{"message": "x", "sessionId": "a/b"}': "sessionId",
    b'{"message": "x", "sessionId": "+"}': "sessionId",
    b'{"message": "x", "replyTopic": "home/assistant_response/s"}': "send sessionId too",
    b"x" * 300_000: "no more than 262144 are read",
}


async def test_what_is_wrong_with_a_message_is_told_and_the_bridge_lives_on(broker: Mosquitto, tmp_path: Path) -> None:
    async with bridged(Echo(), tmp_path, bridge(broker.port)), asker(broker.port, V311) as client:
        for count, (payload, message) in enumerate(BAD.items(), 1):
            await client.ask(payload)
            told = (await client.next(ERRORS, count))[-1].json
            assert message in told["error"]
            assert told["requestId"] is None
        asked = {"sessionId": "s", "clientId": "c", "requestId": "r", "message": "x"}
        mine = f"{ANSWERS}/s/c/r"
        for count, (more, message) in enumerate(
            (
                ({"model": "nobody"}, "there is no model 'nobody'"),
                ({"replyTopic": f"{ANSWERS}/other"}, f"expected a topic under '{ANSWERS}/s'"),
                ({"replyTopic": f"{ANSWERS}/sister"}, f"expected a topic under '{ANSWERS}/s'"),
                ({"replyTopic": f"{ANSWERS}/s/#"}, "without '+', '#'"),
                ({"message": 3}, "message"),
            ),
            1,
        ):
            await client.ask({**asked, **more})
            told = (await client.next(mine, count))[-1].json
            assert message in told["error"]
            assert told["requestId"] == "r"
        await client.ask({**asked, "requestId": "well"})
        assert (await client.next(f"{ANSWERS}/s/c/well"))[0].payload == b"x "


async def test_a_response_topic_outside_the_answers_is_refused(broker: Mosquitto, tmp_path: Path) -> None:
    async with bridged(Echo(), tmp_path, bridge(broker.port)), asker(broker.port) as client:
        await client.ask(b"x", ResponseTopic="home/user_input", CorrelationData=b"1")
        (told,) = await client.next(ERRORS)
        assert "response topic: expected a topic under" in told.json["error"]
        assert told.properties["CorrelationData"] == b"1"


async def test_a_busy_session_is_told_where_the_client_would_rather_not_wait(broker: Mosquitto, tmp_path: Path) -> None:
    model = Told()
    async with bridged(model, tmp_path, bridge(broker.port)), asker(broker.port) as client:
        await client.ask({"sessionId": "s", "message": "long"})
        await model["long"].asked.wait()
        await client.ask({"sessionId": "s", "message": "now", "onBusy": "reject"})
        assert "is answering another message" in (await client.next(f"{ANSWERS}/s"))[0].json["error"]
        model["long"].give("well")
        model["long"].end()
        assert (await client.next(f"{ANSWERS}/s", 2))[1].payload == b"well"


async def test_the_bridge_names_the_workflow_that_answers_and_a_message_may_name_another(
    broker: Mosquitto, tmp_path: Path
) -> None:
    workflows = (one(), one(id="other"))
    made = bridge(broker.port, model="other")
    async with bridged(Echo(), tmp_path, made, workflows=workflows) as served, asker(broker.port) as client:
        await client.ask({"sessionId": "a", "message": "x"})
        await client.ask({"sessionId": "b", "message": "x", "model": "story"})
        await client.next(f"{ANSWERS}/a")
        await client.next(f"{ANSWERS}/b")
        found = {each.key.id: each.workflow for each in await sessions(served.gateway).list(None, 10)}
        assert found == {"a": "other", "b": "story"}


async def test_the_status_is_retained_and_says_when_the_bridge_is_gone(broker: Mosquitto, tmp_path: Path) -> None:
    async with bridged(Echo(), tmp_path, bridge(broker.port)), asker(broker.port) as client:
        (online,) = await client.next(STATUS)
        assert (online.payload, online.retain) == (b"online", True)
    async with asker(broker.port) as client:
        assert (await client.next(STATUS))[0].payload == b"offline"


async def test_a_retained_question_is_not_answered_at_every_connection(broker: Mosquitto, tmp_path: Path) -> None:
    model = Echo()
    async with asker(broker.port) as client:
        await client._client.publish("home/user_input", b"retained", qos=1, retain=True)  # type: ignore[union-attr]
        async with bridged(model, tmp_path, bridge(broker.port)):
            await client.ask({"sessionId": "s", "message": "x"})
            await client.next(f"{ANSWERS}/s")
    assert len(model.sent) == 1
