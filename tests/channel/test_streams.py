import asyncio
import functools
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deployments.channel.flow import BURST, COST, HALF, WINDOW, Outlet
from deployments.channel.frames import CREDIT, END, RESET, decode_number, encode_number
from deployments.streams.codec import MAX_CHUNK, TEXT, Left, Lost, decode, decode_error, encode, encode_error
from graphs.errors import ComponentFailed, TooLarge, UpstreamFailed
from graphs.stream import Note
from tests.channel.conftest import Pair, collect, read, send


async def test_20_000_chunks_arrive_whole_and_in_order(pair: Pair):
    outlet, inlet = pair.stream()
    chunks = [f"chunk {n} 가나다" for n in range(20_000)]
    _, got = await asyncio.gather(send(outlet, chunks), read(inlet))
    assert got == chunks
    assert inlet.count == outlet.count == 20_000


@pytest.mark.parametrize(
    "chunk",
    [
        "plain",
        "한국어 中文 👩‍👩‍👧 \r\n\0",
        "\ud800 alone",
        b"\x00\xff\r\n",
        b"",
        {"a": [1, 2.5, None, True], "한": "국"},
        [1, "two", {"three": 3}],
        12345678901234567890123,
        math.inf,
        False,
        {"image": b"\x89PNG", "of": [b"a", {"b": b"c"}]},
        Note({"usage": {"tokens": 3}}),
    ],
    ids=repr,
)
async def test_a_chunk_arrives_as_it_was_sent(pair: Pair, chunk):
    outlet, inlet = pair.stream()
    await send(outlet, [chunk])
    (got,) = await read(inlet)
    assert got == chunk
    assert type(got) is type(chunk)


MARK = "\0base64"
"""What stands for bytes inside JSON on the wire: upstreams may send it too."""

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just(MARK) | st.text(max_size=3), inner, max_size=2),
    max_leaves=10,
)


@example({"error": {MARK: 5}})
@example({MARK: "aGk="})
@example([{MARK: b"x"}, {MARK: {MARK: [{MARK: b""}]}}])
@example({MARK: [5]})
@example([b"x", f'{{"{MARK}":'])
@given(VALUES)
def test_every_value_comes_out_of_its_frame_as_it_went_in(value):
    same(decode(*encode(value)), value)
    same(decode(*encode([b"", value])), [b"", value])
    same(decode(*encode(Note({"x": value}))).data, {"x": value})
    error = decode_error(encode_error(UpstreamFailed("no", upstream=value)))
    assert type(error) is UpstreamFailed
    same(error.details, {"upstream": value})


def same(got, sent) -> None:
    assert got == sent
    assert repr(got) == repr(sent)  # 1 is not True


async def test_an_upstreams_own_mark_neither_cuts_other_streams_nor_becomes_bytes(pair: Pair):
    other_outlet, other_inlet = pair.stream()
    outlet, inlet = pair.stream()
    body = {"error": {MARK: "aGk="}}
    outlet.put(Note({"usage": body}))
    outlet.fail(UpstreamFailed("refused", upstream={"status": 400, "body": {MARK: 5}}))
    got = []
    with pytest.raises(UpstreamFailed, match="refused") as raised:
        await collect(inlet, got)
    assert got == [Note({"usage": body})]
    assert raised.value.details == {"upstream": {"status": 400, "body": {MARK: 5}}}
    await send(other_outlet, ["goes on"])
    assert await read(other_inlet) == ["goes on"]


def test_an_error_that_no_frame_can_hold_keeps_its_type():
    error = decode_error(encode_error(UpstreamFailed("refused", upstream={"body": bytes(MAX_CHUNK)})))
    assert (type(error), error.message, error.details) == (UpstreamFailed, "refused", {})


@pytest.mark.parametrize(
    ("chunk", "said"),
    [
        (
            functools.reduce(lambda inner, _: [inner], range(2000), []),
            "values nested too deep, or one that holds itself",
        ),
        ([10**5000], "a whole number of more than 4300 digits; write it as text"),
        (10**5000, "a whole number of more than 4300 digits; write it as text"),
    ],
    ids=["deep", "a long number in a list", "a long number"],
)
async def test_what_json_cannot_hold_is_refused_in_words(pair: Pair, chunk, said: str):
    outlet, _ = pair.stream()
    with pytest.raises(ComponentFailed, match=f"expected chunks of text, bytes or JSON values, got one with {said}"):
        outlet.put(chunk)


async def test_what_is_no_chunk_is_refused_where_it_is_sent(pair: Pair):
    outlet, inlet = pair.stream()
    with pytest.raises(
        ComponentFailed, match="expected chunks of text, bytes or JSON values, got one with an object in it"
    ):
        outlet.put({"thing": object()})
    outlet.put("still works")
    outlet.finish()
    assert await read(inlet) == ["still works"]


async def test_a_stream_may_hold_nothing(pair: Pair):
    outlet, inlet = pair.stream()
    outlet.finish()
    assert await read(inlet) == []


async def test_many_short_streams_share_the_connection(pair: Pair):
    async def one(n: int) -> list:
        outlet, inlet = pair.stream()
        _, got = await asyncio.gather(send(outlet, [f"{n}-{k}" for k in range(n % 5)]), read(inlet))
        return got

    answers = await asyncio.gather(*map(one, range(500)))
    assert answers == [[f"{n}-{k}" for k in range(n % 5)] for n in range(500)]
    assert len(pair.listener._friends) == 1
    assert not pair.near._inlets
    assert not pair.far._outlets


async def test_chunks_ready_together_come_in_one_batch(pair: Pair):
    outlet, inlet = pair.stream()
    for n in range(10):
        outlet.put(n)
    outlet.finish()
    assert [batch async for batch in inlet.batches()] in ([[0], list(range(1, 10))], [list(range(10))])


async def test_the_first_chunk_is_written_at_once(pair: Pair):
    outlet, _ = pair.stream()
    outlet.put("first")
    assert not pair.far._out
    outlet.put("second")
    assert pair.far._out


async def test_a_reader_that_stops_stops_its_own_producer_alone(pair: Pair):
    stuck_outlet, stuck_inlet = pair.stream()
    stuck = asyncio.gather(send(stuck_outlet, ("x" * 1000 for _ in range(10_000))))
    outlet, inlet = pair.stream()
    chunks = [str(n) for n in range(20_000)]
    _, got = await asyncio.gather(send(outlet, chunks), read(inlet))
    assert got == chunks
    assert not stuck.done()
    assert stuck_outlet.count < WINDOW / 1000 + 1
    stuck_inlet.close()
    with pytest.raises(Left):
        await stuck


async def test_credit_is_never_exceeded(pair: Pair):
    outlet, inlet = pair.stream()
    chunks = ["x" * (n * 37 % 9000) for n in range(1000)]
    most = 0

    async def watch() -> None:
        nonlocal most
        async for _ in inlet.batches():
            most = max(most, outlet._under_way)

    await asyncio.gather(send(outlet, chunks), watch())
    assert HALF < most <= WINDOW


async def test_a_chunk_larger_than_the_window_passes_alone(pair: Pair):
    outlet, inlet = pair.stream()
    chunks = ["a" * 10, "b" * (5 * WINDOW), "c" * 10, b"d" * (2 * WINDOW), "e"]
    _, got = await asyncio.gather(send(outlet, chunks), read(inlet))
    assert got == chunks


async def test_a_chunk_larger_than_a_frame_is_refused_where_it_is_sent(pair: Pair):
    outlet, _ = pair.stream()
    with pytest.raises(TooLarge, match="larger than 64 MiB; send it in smaller chunks"):
        outlet.put(bytes(MAX_CHUNK + 1))


async def test_closing_stops_the_producer_while_it_waits_for_its_next_chunk(pair: Pair):
    outlet, inlet = pair.stream()
    stopped = asyncio.Event()
    outlet.on_stop = stopped.set
    outlet.put("one")
    async for _ in inlet.batches():
        break
    inlet.close()
    await stopped.wait()
    with pytest.raises(Left):
        outlet.put("two")


async def test_an_error_is_read_after_the_chunks_before_it(pair: Pair):
    outlet, inlet = pair.stream()
    outlet.put("one")
    outlet.fail(UpstreamFailed("refused", upstream={"status": 503, "body": "nein"}))
    got = []
    with pytest.raises(UpstreamFailed, match="refused") as raised:
        await collect(inlet, got)
    assert got == ["one"]
    assert raised.value.details == {"upstream": {"status": 503, "body": "nein"}}


async def test_an_end_with_another_count_is_no_success(pair: Pair):
    outlet, inlet = pair.stream()
    outlet.put("one")
    outlet.count += 1
    outlet.finish()
    with pytest.raises(Lost, match="ended after 2 chunks, and 1 of them arrived"):
        await read(inlet)


@pytest.mark.parametrize("end", ["near", "far"])
async def test_a_cut_connection_raises_at_both_ends(pair: Pair, end: str):
    outlet, inlet = pair.stream()
    stopped = asyncio.Event()
    outlet.on_stop = stopped.set
    outlet.put("one")
    got = []
    with pytest.raises(Lost, match="the connection was lost"):
        await collect(inlet, got, getattr(pair, end)._transport.abort)
    assert got == ["one"]
    await stopped.wait()
    with pytest.raises(Lost):
        outlet.put("two")
    with pytest.raises(Lost):
        await outlet.room()


async def test_a_producer_without_credit_learns_that_the_connection_is_cut(pair: Pair):
    outlet, inlet = pair.stream()
    sending = asyncio.gather(send(outlet, ("x" * 1000 for _ in range(10_000))))
    await inlet.opened()
    pair.near._transport.abort()
    with pytest.raises(Lost):
        await sending


async def test_streams_asked_of_a_lost_connection_fail_at_once(pair: Pair):
    pair.far._transport.abort()
    await pair.far._closed
    with pytest.raises(Lost):
        await read(pair.far.read(1))
    with pytest.raises(Lost):
        pair.far.write(1).put("x")


async def test_an_offered_stream_flows_once_it_is_wanted(pair: Pair):
    outlets: list[Outlet] = []
    wanted = asyncio.Event()

    def start(outlet: Outlet) -> None:
        outlets.append(outlet)
        wanted.set()

    inlet = pair.far.read(pair.listener.offer(start))
    assert not outlets
    inlet.want()
    await wanted.wait()
    chunks = [f"in {n}" for n in range(5000)]
    _, got = await asyncio.gather(send(outlets[0], chunks), read(inlet))
    assert got == chunks


async def test_an_answer_nobody_expects_is_stopped(pair: Pair):
    outlet = pair.far.write(4711)
    stopped = asyncio.Event()
    outlet.on_stop = stopped.set
    outlet.open()
    await stopped.wait()
    assert isinstance(outlet.stopped, Left)


async def test_a_second_answer_to_one_question_is_stopped_and_the_first_goes_on(pair: Pair):
    outlet, inlet = pair.stream()
    outlet.put("first")
    await inlet.opened()
    other_dialer = type(pair.dialer)()
    other = await other_dialer.dial(pair.listener.address)
    second = other.write(inlet.id)
    stopped = asyncio.Event()
    second.on_stop = stopped.set
    second.open()
    second.put("second")
    await stopped.wait()
    outlet.finish()
    assert await read(inlet) == ["first"]
    await other_dialer.aclose()


async def test_an_unpaced_producer_lets_other_tasks_run(pair: Pair):
    outlet, inlet = pair.stream()
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    reading = asyncio.create_task(read(inlet))
    await send(outlet, ("x" for _ in range(1000)))
    counting.cancel()
    assert turns >= 1000 // BURST
    assert len(await reading) == 1000
    await asyncio.wait([counting])


class Wire:
    """A carrier that keeps what is sent."""

    def __init__(self) -> None:
        self.paused = False
        self.sent: list[tuple[int, bytes]] = []

    def send(self, kind: int, stream: int, body: bytes = b"") -> None:
        self.sent.append((kind, body))

    def flush(self) -> None: ...
    def forget(self, stream: int) -> None: ...


async def test_a_paused_socket_holds_producers_back():
    wire = Wire()
    outlet = Outlet(1, wire)
    assert outlet.put("goes")
    wire.paused = True
    assert not outlet.put("the last for now")
    waiting = asyncio.create_task(outlet.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    wire.paused = False
    outlet.wake()
    await waiting


async def test_credit_comes_back_when_half_the_window_is_read():
    from deployments.channel.flow import Inlet

    wire = Wire()
    inlet = Inlet(1)
    inlet.bind(wire)
    batches = inlet.batches()
    size = HALF // 2 - COST
    inlet.deliver(TEXT, b"x" * size)
    await anext(batches)
    assert wire.sent == []
    inlet.deliver(TEXT, b"x" * size)
    await anext(batches)
    assert [(kind, decode_number(body)) for kind, body in wire.sent] == [(CREDIT, HALF)]
    await batches.aclose()
    inlet.close()
    assert wire.sent[-1][0] == RESET


async def test_a_connection_lives_on_when_a_stream_is_closed_in_the_middle(pair: Pair):
    outlet, inlet = pair.stream()
    outlet.put("one")
    await inlet.opened()
    inlet.close()
    pair.far.send(TEXT, inlet.id, b"under way")
    pair.far.send(END, inlet.id, encode_number(2))
    outlet, inlet = pair.stream()
    await send(outlet, ["next"])
    assert await read(inlet) == ["next"]
