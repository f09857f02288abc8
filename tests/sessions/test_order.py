"""The turns of one session follow each other, whichever replica they come to, and whatever happens to it."""

from __future__ import annotations

import asyncio
import json
import random

from tests.sessions.talking import Echo, asked, replicas, turns

SESSIONS, TURNS = 40, 5
"""bench/sessions.py has more."""


async def test_of_many_sessions_at_once_no_turn_is_lost_doubled_or_out_of_order(url: str) -> None:
    model = Echo()
    async with replicas(model, url) as gateways:

        async def talk(session: str) -> None:
            for number in range(TURNS):
                text = f"{session}-{number}"
                assert await asked(random.choice(gateways), text, session) == f"{text} "

        await asyncio.gather(*(talk(f"s{index}") for index in range(SESSIONS)))
        for index in range(SESSIONS):
            for gateway in gateways:
                found = await turns(gateway, f"s{index}")
                assert [json.loads(turn.said)[0]["content"] for turn in found] == [
                    f"s{index}-{n}" for n in range(TURNS)
                ]
                assert [turn.state for turn in found] == ["complete"] * TURNS
    assert len(model.sent) == SESSIONS * TURNS
