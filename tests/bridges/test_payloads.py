"""What a message says, whoever sent it, and where its answer goes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deployments.bridges.mqtt.payloads import Address, Incoming, Question, Refused, chunk, decode
from deployments.bridges.mqtt.topics import Topics

TOPICS = Topics("home")


def read(payload: Any, **more: Any) -> Question:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return decode(Incoming(body, **more), TOPICS, 4096, "default")


def test_a_text_is_what_the_user_says_whatever_it_looks_like() -> None:
    for text in ("how warm?", "[1, 2]", '"quoted"', "12", "안녕 🎉"):
        assert read(text.encode()).conversation.messages == [{"role": "user", "content": text}]
    said = b'{"message": "x"}'
    assert read(said).conversation.messages[0]["content"] == "x"
    assert read(said, content_type="text/plain").conversation.messages[0]["content"] == said.decode()
    with pytest.raises(Refused, match="expected a JSON object"):
        read(b"[1]", content_type="application/json")


def test_a_temperature_of_zero_is_zero() -> None:
    asked = read({"message": "x", "temperature": 0, "topP": 0.5, "maxTokens": 7}).conversation.sampling
    assert asked.fields() == {"temperature": 0, "top_p": 0.5, "max_tokens": 7}


def test_the_same_message_has_the_same_key_and_no_other_has_it() -> None:
    asked = {"message": "x", "sessionId": "s", "clientId": "c", "requestId": "r"}
    key = read(asked).key
    assert key is not None
    assert read({**asked, "after": 3}).key == key
    others = [{**asked, name: "other"} for name in ("sessionId", "clientId", "requestId")]
    assert key not in {read(each).key for each in others}
    assert read(asked, correlation=b"1").key != key
    assert read({"message": "x"}).key is None


@pytest.mark.parametrize("id", ["", "a/b", "a+", "#", "a\n", "\ud800", "$SYS", "x" * 257])
def test_an_id_that_is_no_level_of_a_topic_is_refused(id: str) -> None:
    for field in ("sessionId", "clientId", "requestId"):
        with pytest.raises(Refused) as refused:
            read({"message": "x", field: id})
        assert refused.value.error.details["field"] == field
        assert refused.value.address == Address(TOPICS.errors)


@pytest.mark.parametrize(
    "topic", ["home/user_input", "home/assistant_response/sister", "home/assistant_response/s/+", ""]
)
def test_an_answer_goes_nowhere_but_into_the_branch_of_its_session(topic: str) -> None:
    with pytest.raises(Refused, match="replyTopic"):
        read({"message": "x", "sessionId": "s", "replyTopic": topic})
    with pytest.raises(Refused, match="response topic"):
        read({"message": "x", "sessionId": "s"}, response_topic=topic)


def test_a_chunk_is_one_line_of_json_whose_text_is_kept() -> None:
    assert (
        chunk(Address("t", "r"), 3, {"content": "안\n"}).decode() == '{"requestId": "r", "seq": 3, "content": "안\\n"}'
    )
