"""Sessions, as every way in uses them: a message goes in, and a reader of the run that answers it comes out."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from deployments.asgi.json_values import json_text
from deployments.conversations.models import asked
from deployments.conversations.reading import Reading
from deployments.conversations.request import QUESTION, Conversation, last_question
from deployments.gateway.gateway import Gateway
from deployments.gateway.keeper import OnDisconnect
from deployments.gateway.kept import Keep
from deployments.gateway.running import Following, Running
from deployments.runs.events import Run
from deployments.sessions.history import Folding, Limits, for_model, stored
from deployments.sessions.turns import Turns, stopped
from deployments.store.rows import ENDED, NewTurn, OnBusy, Placed, SessionKey, SessionRow, Settled, StoreDown, TurnRow
from graphs.errors import AnabranchError, InvalidInput, NotFound
from graphs.plan import WorkflowPlan
from graphs.stream import Value

if TYPE_CHECKING:
    from deployments.store.store import Store

logger = logging.getLogger("anabranch.sessions")

LONGEST_ID = 256
DETACHED_FOR = 10.0
"""Seconds without a reader after which an answer is cut, unless the request says otherwise: time enough to load a page again."""
OF_WORKFLOWS, OF_MODELS = 24_000, 256_000
"""Characters that are sent where the document doesn't say how many. A model leaves out what is too long for it; what answers a
workflow mostly refuses it. No more than a mebibyte fits into the call of a component."""


class History(NamedTuple):
    """What was said in a session, or the last of it."""

    system: str | None
    turns: Sequence[TurnRow]


class Sessions:
    """The sessions of a gateway: `gateway.companion(Sessions)`. There is one for all ways in.

    A way in says a message and reads the run that answers it; the run is kept, and goes by all that holds for kept runs:

        running = await sessions.say(conversation, "device-1", system_prompt="Be brief.", key=request_id)
        reading = sessions.reading(running)
        async with aclosing(running):
            async for event in running:            # nothing comes while the turn waits for those before it
                raise_failure(event)               # the answer failed, or was cut
                if isinstance(event, Delta):
                    pieces = reading.read(event)   # text, and what else conversations/pieces.py has
                elif isinstance(event, Finished):
                    pieces = reading.end(event)    # the last ones; then Ended

    `conversation` holds the one new message, as `messages`, and what else is asked for: model, tools, sampling, stream. With
    a `key`, a message that comes again (the same key and the same words) is answered by the same run. `running.run.id` is the run;
    `gateway.follow(id, after)` reads it on, after a restart too, from a number that `running.number` gave. `running.run.context.session_id`
    is the session, made where None was given. What is wrong with a request is raised by `say`: NotFound for a model, Conflict for a
    session that is busy, InvalidInput, Overloaded, StoreDown.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._kept = gateway.kept
        self._plan = gateway.plan.controller.sessions
        self.turns = Turns(gateway.kept, self._settled)
        self._kept.remembering = self

    async def say(
        self,
        conversation: Conversation,
        session_id: str | None = None,
        *,
        system_prompt: str | None = None,
        on_busy: OnBusy = "enqueue",
        on_disconnect: OnDisconnect = DETACHED_FOR,
        key: str | None = None,
        request: Value = None,
    ) -> Following:
        """Say something in a session, and return a reader of the answer.

        `request` is what the way in wants to find again with the run.
        """
        id = _checked(session_id)
        run = asked(self._gateway.plan, conversation)
        said = [dict(message) for message in conversation.messages]
        shown = {**conversation.fields, **conversation.sampling.fields(), "messages": said, **conversation.extra}
        characters = self._plan.max_characters or (OF_MODELS if run.model.is_component else OF_WORKFLOWS)
        if run.model.is_component:
            conversation = replace(conversation, truncation="auto")
        turn = _Turn(NewTurn(stored(said), system_prompt, on_busy), self, conversation, characters)
        words = [
            shown,
            conversation.model,
            list(conversation.tools),
            conversation.tool_choice,
            session_id,
            system_prompt,
        ]
        digest = "" if key is None else _digest(words)
        keep = Keep(on_disconnect, key, digest, request=request, turn=turn)
        running = await self._gateway.begin(run.workflow, shown, id, keep)
        assert isinstance(running, Following), "it is kept"
        return running

    async def run(self, workflow: WorkflowPlan, input: Value, session_id: str, keep: Keep, on_busy: OnBusy) -> Running:
        """Begin a run of a workflow as a turn of a session: what it asks, as far as that can be told, is what the user said."""
        said = stored([{"role": "user", "content": _question(input)}])
        turn = _Turn(NewTurn(said, None, on_busy), self, None, self._plan.max_characters or OF_WORKFLOWS)
        return await self._gateway.begin(workflow, input, _checked(session_id), replace(keep, turn=turn))

    def reading(self, running: Running) -> Reading:
        """Return what reads the pieces of an answer."""
        return Reading(running.run.id, self._gateway.plan.controller.primary)

    async def under_way(self, session_id: str) -> Following | None:
        """Return a reader of the session's answer that is under way, from its first word on; None if there is none."""
        key = await self._known(session_id)
        rows = (await self._store()).sessions
        while firsts := await rows.firsts([key]):
            if not firsts[0].ended:
                return await self._gateway.follow(firsts[0].run)
            await self.turns.settle([firsts[0].run])
        return None

    async def replay(self, session_id: str, run: str) -> Following:
        """Return a reader of one of the session's answers."""
        key = await self._known(session_id)
        if await (await self._store()).sessions.turn(key, run) is None:
            raise NotFound(f"the session '{session_id[:80]}' has no turn of the run '{run[:80]}'")
        return await self._gateway.follow(run)

    async def history(self, session_id: str, before: int | None, limit: int) -> History:
        """Return the last turns of a session before a number; raise NotFound."""
        key = await self._known(session_id)
        rows = (await self._store()).sessions
        turns = await rows.turns(key, before, limit)
        if await self._settle(turns):
            turns = await rows.turns(key, before, limit)
        system = await rows.system(key, turns[-1].number if turns else 2**62)
        return History(system, turns)

    async def list(self, before: tuple[float, str] | None, limit: int) -> list[SessionRow]:
        """Return sessions, the last used first."""
        store = await self._kept.store()
        return [] if store is None else await store.sessions.sessions("", before, limit)

    async def clear(self, session_id: str) -> None:
        """Stop what is under way in a session, and forget what was said in it; raise NotFound."""
        key = await self._known(session_id)
        await self._stop_all(key)
        await (await self._store()).sessions.clear(key)

    async def forget(self, session_id: str) -> None:
        """Stop what is under way in a session, and delete it; raise NotFound."""
        key = await self._known(session_id)
        await self._stop_all(key)
        await (await self._store()).sessions.forget(key)

    async def settle(self, runs: Sequence[str]) -> None:
        """Remember the answers of these runs, which have ended."""
        await self.turns.settle(runs)

    async def sweep(self, now: float) -> None:
        """Settle what nobody has, before its log is deleted; delete sessions that nobody uses."""
        rows = (await self._store()).sessions
        while ended := await rows.unsettled():
            await self.turns.settle([each.run for each in ended])
        while await rows.sweep(now - self._plan.keep_for):
            pass

    async def aclose(self) -> None:
        """Settle what has ended."""
        await self.turns.aclose()

    # --- a turn ------------------------------------------------------------------------------------------------------

    async def begin(self, run: Run, placed: Placed, turn: _Turn) -> Run:
        """Wait until it is the turn of this run; return it with what was said before as its input."""
        key = SessionKey("", run.context.session_id or "")
        if placed.before:
            if turn.new.on_busy == "interrupt":
                await stopped(self._kept, placed.before)
            await self.turns.wait(run.id, key, placed.number)
        conversation, plan = turn.conversation, self._gateway.plan
        if conversation is None and not plan.reads_messages:
            return run
        rows = (await self._store()).sessions
        before = await rows.turns(key, placed.number, self._plan.max_messages)
        system = await rows.system(key, placed.number)
        limits = Limits(self._plan.max_messages, turn.characters)
        messages = for_model(system, before, json.loads(turn.new.said), limits)
        if plan.reads_messages:
            run = replace(run, context=replace(run.context, session_messages=[dict(each) for each in messages]))
        if conversation is not None:
            run = replace(run, input=asked(plan, replace(conversation, messages=messages)).input)
        return run

    async def _settled(self, run: str) -> Settled:
        """Return what is remembered of a turn whose run has ended."""
        folding = Folding(run, self._gateway.plan.controller.primary)
        try:
            async with self._kept.following(run) as entries:
                async for entry in entries:
                    folding.add(entry)
        except StoreDown:
            raise
        except AnabranchError as error:
            # Its log is damaged, or gone: the session goes on with what there is.
            logger.warning("the log of run %s can't be read: %s", run, error.message)
        return folding.settled()

    async def _settle(self, turns: Sequence[TurnRow]) -> bool:
        """Settle those of the turns whose runs have ended; return whether there were any."""
        ended = [turn.run for turn in turns if turn.state is None and turn.status in (None, *ENDED)]
        await self.turns.settle(ended)
        return bool(ended)

    async def _stop_all(self, key: SessionKey) -> None:
        rows = (await self._store()).sessions
        open = [turn.run for turn in await rows.turns(key, None, 1000) if turn.state is None]
        # The last ones first: none of them begins meanwhile.
        await stopped(self._kept, reversed(open))

    async def _known(self, session_id: str) -> SessionKey:
        """Return the key of a session that there is."""
        store = await self._kept.store()
        key = SessionKey("", session_id)
        if store is None or await store.sessions.session(key) is None:
            raise NotFound(f"there is no session '{session_id[:80]}': nothing was said in it yet, or it is forgotten")
        return key

    async def _store(self) -> Store:
        store = await self._kept.store(create=True)
        assert store is not None, "it was made"
        return store


@dataclass(frozen=True, slots=True)
class _Turn:
    """A run as a turn of its session."""

    new: NewTurn
    sessions: Sessions
    conversation: Conversation | None
    """What is asked, with the new message alone; None for a run of a workflow, whose input is its own."""
    characters: int
    """How many are sent at most."""

    async def begin(self, run: Run, placed: Placed) -> Run:
        return await self.sessions.begin(run, placed, self)

    def ended(self, run: str) -> None:
        self.sessions.turns.ended(run)


def _checked(session_id: str | None) -> str:
    """Return the id of a session; a new one in place of None."""
    if session_id is None:
        return f"session_{secrets.token_hex(12)}"
    if not 0 < len(session_id) <= LONGEST_ID:
        raise InvalidInput(
            f"session_id: expected 1 to {LONGEST_ID} characters, got {len(session_id)}; leave it out to begin a new session",
            field="session_id",
        )
    return session_id


def _question(input: Value) -> str:
    """Return what the user asks in the input of a workflow."""
    if isinstance(input, str):
        return input
    if isinstance(input, Mapping):
        fields = cast("Mapping[str, Value]", input)
        if isinstance(messages := fields.get("messages"), list):
            turns = [each for each in cast("list[Any]", messages) if isinstance(each, Mapping)]
            if (question := last_question(turns)) is not None:
                return question
        for name in QUESTION:
            if isinstance(said := fields.get(name), str) and said:
                return said
    return json_text(input)


def _digest(said: Any) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
