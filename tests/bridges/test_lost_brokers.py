"""A broker that isn't there, goes, or refuses: nothing is lost, nothing comes twice, and what is wrong is told once."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
from pathlib import Path

import pytest

from deployments.bridges.mqtt import link as links
from graphs.plan import Tls
from tests.bridges.bridged import bridge, bridged
from tests.bridges.clients import ANSWERS, STATUS, V5, V311, Asker, asker, in_order
from tests.bridges.mosquitto import Mosquitto, binary
from tests.fakes.certificates import certificates
from tests.sessions.talking import Echo, Told

ANSWERED = 12
DEATHS = 5
WORDS = 30


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(links, "LONGEST_PAUSE", 0.05)


@pytest.mark.parametrize("version", [V5, V311])
async def test_answers_that_stream_while_the_broker_is_killed_again_and_again_are_complete_and_in_order(
    broker: Mosquitto, tmp_path: Path, version: int
) -> None:
    model = Told()
    async with bridged(model, tmp_path, bridge(broker.port)) as served, asker(broker.port, version) as client:
        asked = [
            {"sessionId": f"s{each}", "clientId": "c", "requestId": "r", "message": f"m{each}", "stream": True}
            for each in range(ANSWERED)
        ]
        topics = [f"{ANSWERS}/s{number}/c/r" for number in range(ANSWERED)]
        for each in asked:
            await client.ask(each)
        said = 0

        def say(count: int) -> None:
            nonlocal said
            for _ in range(count):
                for number in range(ANSWERED):
                    model[f"m{number}"].give(f"{number}.{said} ")
                said += 1

        for _ in range(DEATHS):
            say(WORDS // 2)
            await client.until(lambda _: all(client.of(topic) for topic in topics))
            broker.kill()
            say(WORDS // 2)
            await served.until("can't be reached")
            broker.start()
            await served.until(None)
            # What this broker had taken and not passed on is lost with it: a client asks for what follows what it has.
            for each, topic in zip(asked, topics, strict=True):
                await client.ask({**each, "after": len(in_order(client.of(topic))) - 1})
        for number in range(ANSWERED):
            model[f"m{number}"].end()
        for number, topic in enumerate(topics):
            assert await client.text(topic) == "".join(f"{number}.{each} " for each in range(said))
            assert in_order(client.of(topic))[-1]["done"] is True
    assert len(model.sent) == ANSWERED


async def test_what_is_said_while_the_broker_is_away_waits_in_the_log(
    broker: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Told()
    async with bridged(model, tmp_path, bridge(broker.port)) as served, asker(broker.port) as client:
        await client.ask({"sessionId": "s", "message": "go", "stream": True})
        model["go"].give("begins ")
        await client.next(f"{ANSWERS}/s")
        broker.kill()
        await served.until("can't be reached")
        words = [f"{number} " * 1000 for number in range(200)]
        for word in words:
            model["go"].give(word)
        model["go"].end()
        (run,) = await served.gateway.kept.list(workflow=None, status=None, session="s", before=None, limit=9)
        await served.gateway.kept.ended()
        assert (await served.gateway.kept.find(run.id)).ended
        broker.start()
        assert await client.text(f"{ANSWERS}/s") == "begins " + "".join(words)


async def test_an_answer_waits_for_a_client_that_comes_back_later_than_the_bridge(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with bridged(Echo(), tmp_path, bridge(broker.port)) as served:
        asking = Asker(broker.port)
        await asking.ask({"sessionId": "s", "message": "x"})
        await asking.aclose()
        await served.until(None)
        async with asker(broker.port) as client:
            assert (await client.next(f"{ANSWERS}/s"))[0].payload == b"x "


async def test_a_broker_that_is_not_there_at_the_start_is_connected_when_it_comes(
    quiet: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with bridged(Echo(), tmp_path, bridge(quiet.port), connects=False) as served:
        await served.until(f"the broker at 127.0.0.1:{quiet.port} can't be reached")
        await asyncio.sleep(0.3)  # several tries
        quiet.start()
        await served.until(None)
        async with asker(quiet.port) as client:
            assert (await client.next(STATUS))[0].payload == b"online"
            await client.ask({"sessionId": "s", "message": "x"})
            assert (await client.next(f"{ANSWERS}/s"))[0].payload == b"x "
    assert len(warnings(caplog)) == 1


async def test_questions_that_come_while_the_bridge_is_away_are_answered_when_it_is_back(
    broker: Mosquitto, tmp_path: Path
) -> None:
    async with asker(broker.port) as client:
        async with bridged(Echo(), tmp_path, bridge(broker.port)):
            pass
        await client.ask({"sessionId": "s", "message": "x"})
        async with bridged(Echo(), tmp_path, bridge(broker.port)):
            assert (await client.next(f"{ANSWERS}/s"))[0].payload == b"x "


async def test_a_bridge_that_rests_sends_what_is_left_while_its_successor_answers(
    broker: Mosquitto, tmp_path: Path
) -> None:
    model = Told()
    (tmp_path / "1").mkdir()
    async with asker(broker.port) as client, bridged(model, tmp_path / "1", bridge(broker.port)) as old:
        await client.ask({"sessionId": "s", "message": "go", "stream": True})
        model["go"].give("one ")
        await client.next(f"{ANSWERS}/s")
        await old.bridges.rest()
        async with bridged(Echo(), tmp_path, bridge(broker.port)):
            await client.ask({"sessionId": "t", "message": "new"})
            assert (await client.next(f"{ANSWERS}/t"))[0].payload == b"new "
            model["go"].give("two")
            model["go"].end()
            await old.bridges.ended()
            assert await client.text(f"{ANSWERS}/s") == "one two"
            assert client.of(STATUS)[-1].payload == b"online"


async def test_wrong_credentials_are_told_once_and_never_shown(
    tmp_path: Path, program: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker = Mosquitto(tmp_path, program, "allow_anonymous false", f"password_file {_passwords(tmp_path)}")
    broker.start()
    try:
        wrong = bridge(broker.port, username="me", password="wrong-horse")
        async with bridged(Echo(), tmp_path, wrong, connects=False) as served:
            await served.until("refuses the user 'me'")
            await asyncio.sleep(0.3)  # several tries
        (tmp_path / "2").mkdir()
        right = bridge(broker.port, username="me", password="correct-horse")
        async with bridged(Echo(), tmp_path / "2", right):
            pass
    finally:
        broker.stop()
    assert len(warnings(caplog)) == 1
    assert "horse" not in caplog.text


@pytest.mark.filterwarnings("ignore:.*SSLSocket:pytest.PytestUnraisableExceptionWarning")
async def test_over_tls_the_broker_must_be_who_it_says(tmp_path: Path, program: str) -> None:
    files = certificates(tmp_path)
    lines = (f"cafile {files.authority}", f"certfile {files.chain}", f"keyfile {files.key}")
    broker = Mosquitto(tmp_path, program, *lines)
    broker.start()
    try:
        trusting = bridge(broker.port, host="localhost", tls=Tls(str(files.authority)))
        async with bridged(Echo(), tmp_path, trusting):
            pass
        (tmp_path / "2").mkdir()
        wary = bridge(broker.port, host="localhost", tls=Tls())
        async with bridged(Echo(), tmp_path / "2", wary, connects=False) as served:
            await served.until("certificate verify failed")
        gc.collect()  # paho leaves the socket of a handshake that failed to the garbage collector
    finally:
        broker.stop()


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        each.getMessage()
        for each in caplog.records
        if each.name.startswith("anabranch") and each.levelno >= logging.WARNING
    ]


def _passwords(folder: Path) -> Path:
    file = folder / "passwords"
    program = binary("mosquitto_passwd")
    assert program is not None, "it comes with Mosquitto"
    subprocess.run([program, "-b", "-c", str(file), "me", "correct-horse"], check=True, capture_output=True)
    return file
