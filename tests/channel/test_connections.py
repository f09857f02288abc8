import asyncio
import json
import logging
import socket

import pytest

from deployments.channel import connection, listener
from deployments.channel.connection import MAGIC, TOKEN_BYTES, Connection
from deployments.channel.dialer import Dialer, Unreachable
from deployments.channel.flow import HALF, WINDOW
from deployments.channel.frames import CREDIT, END, ERR, HELLO, OPEN, RESET, WELCOME, encode_number, header
from deployments.channel.listener import Address, Listener
from deployments.streams.codec import JSON, JSON_WITH_BYTES, NOTE, TEXT, Lost
from graphs.errors import ComponentFailed
from tests.channel.conftest import Pair, connected, read, send


def frame(kind: int, stream: int, body: bytes = b"") -> bytes:
    return header(kind, stream, len(body)) + body


async def stranger(address: Address, *sent: bytes) -> bytes:
    """Send, and return what comes back until the listener hangs up."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        for part in sent:
            writer.write(part)
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        frame(HELLO, 0, MAGIC + bytes(TOKEN_BYTES)),
        frame(HELLO, 0, b""),
        frame(OPEN, 1),
        frame(TEXT, 1, b"hello"),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\xff" * 1000,
        header(HELLO, 0, 10_000_000),
    ],
    ids=["wrong token", "no token", "another frame", "a chunk", "HTTP", "noise", "a huge hello"],
)
async def test_who_does_not_know_the_token_is_dropped_and_others_go_on(pair: Pair, sent: bytes, caplog):
    outlet, inlet = pair.stream()
    outlet.put("before")
    assert await stranger(pair.listener.address, sent) == b""
    assert "dropped a connection" in caplog.text
    assert pair.listener.token.hex() not in caplog.text
    outlet.put("after")
    outlet.finish()
    assert await read(inlet) == ["before", "after"]


async def test_who_says_nothing_is_dropped(pair: Pair, monkeypatch, caplog):
    monkeypatch.setattr(connection, "HELLO_DEADLINE", 0.0)
    assert await stranger(pair.listener.address) == b""
    assert "no hello came" in caplog.text


async def test_of_too_many_strangers_the_oldest_is_dropped(monkeypatch):
    monkeypatch.setattr(listener, "STRANGERS", 1)
    async with connected() as pair:
        admit, admitted = pair.listener.admit, asyncio.Event()

        def watched(connection: Connection) -> None:
            admit(connection)
            admitted.set()

        pair.listener.admit = watched
        oldest = asyncio.create_task(stranger(pair.listener.address))
        await admitted.wait()
        dialer = Dialer()
        assert not (await dialer.dial(pair.listener.address)).lost
        assert await oldest == b""
        await dialer.aclose()


async def test_200_replicas_may_dial_a_busy_listener_at_once():
    listener, dialers = Listener("127.0.0.1"), [Dialer(deadline=20.0) for _ in range(200)]
    address = await listener.start()
    async with asyncio.timeout(30):
        dialled = await asyncio.gather(*(dialer.dial(address) for dialer in dialers))
    assert not any(connection.lost for connection in dialled)
    for dialer in dialers:
        await dialer.aclose()
    await listener.aclose()


async def test_who_is_hung_up_on_dials_once_more():
    listener, dialer = Listener("127.0.0.1"), Dialer()
    address = await listener.start()
    admit, dialled = listener.admit, []

    def crowded(connection: Connection) -> None:
        dialled.append(connection)
        admit(connection)
        if len(dialled) == 1:
            connection.drop("the first one")

    listener.admit = crowded
    assert not (await dialer.dial(address)).lost
    assert len(dialled) == 2
    await dialer.aclose()
    await listener.aclose()


async def test_a_welcome_after_its_dialer_has_given_up_is_no_fault():
    connection = Connection(token=bytes(TOKEN_BYTES))
    waiting = asyncio.create_task(connection.welcomed())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    connection.data_received(frame(WELCOME, 0))
    assert not connection.lost


async def test_too_many_strangers_are_dropped(pair: Pair, monkeypatch, caplog):
    monkeypatch.setattr(listener, "STRANGERS", 0)
    assert await stranger(pair.listener.address) == b""
    assert "too many" in caplog.text


@pytest.mark.parametrize(
    "sent",
    [
        header(99, 1, 0),
        header(TEXT, 1, 2**31),
        frame(HELLO, 0, b"again"),
        frame(END, 1, b"short"),
        frame(TEXT, 1, b"x" * HALF) + frame(TEXT, 1, b"x" * HALF) + frame(TEXT, 1, b"x"),
    ],
    ids=["kind", "length", "hello", "count", "more than its credit"],
)
async def test_a_corrupt_peer_is_dropped_and_its_streams_fail(sent: bytes, caplog):
    async with connected() as pair:
        _, inlet = pair.stream()
        await inlet.opened()
        pair.far._transport.write(sent)
        with pytest.raises(Lost):
            await read(inlet)
        assert "dropped a connection" in caplog.text


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        (JSON, b"{broken", "a chunk of the stream can't be read: Expecting property name"),
        (TEXT, b"\xff\xff", "a chunk of the stream can't be read: 'utf-8' codec"),
        (JSON, b"[" * 100_000, "a chunk of the stream can't be read: values nested too deep"),
        (NOTE, b'{"\\u0000base64":"?"}', "a chunk of the stream can't be read: "),
        (JSON_WITH_BYTES, b'{"\\u0000base64":5}', "a chunk of the stream can't be read: bytes that are neither"),
        (ERR, b"[]", "the error that the stream ended with can't be read: it is no mapping"),
        (ERR, b'{"body":{"\\u0000base64":5}}', "the error that the stream ended with can't be read: bytes that"),
    ],
    ids=["json", "utf-8", "nesting", "base64 in a note", "no base64", "error", "base64 in an error"],
)
async def test_a_body_that_cannot_be_read_fails_its_own_stream_alone(pair: Pair, kind: int, body: bytes, said: str):
    other_outlet, other_inlet = pair.stream()
    other_outlet.put("before")
    outlet, inlet = pair.stream()
    stopped = asyncio.Event()
    outlet.on_stop = stopped.set
    pair.far.send(kind, inlet.id, body)
    with pytest.raises(ComponentFailed, match=said):
        await read(inlet)
    if kind != ERR:
        await stopped.wait()
    other_outlet.put("after")
    other_outlet.finish()
    assert await read(other_inlet) == ["before", "after"]


async def test_the_kernel_is_told_when_to_give_a_peer_up_at_both_ends(pair: Pair):
    for end in (pair.near, pair.far):
        sock = end._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000


async def test_signals_for_unknown_streams_are_ignored(pair: Pair):
    for kind, body in ((CREDIT, encode_number(1)), (RESET, b""), (END, encode_number(0)), (TEXT, b"x")):
        pair.far.send(kind, 4711, body)
        pair.near.send(kind, 4711, body)
    outlet, inlet = pair.stream()
    await send(outlet, ["fine"])
    assert await read(inlet) == ["fine"]


async def test_one_connection_serves_all_who_dial_at_once():
    listener, dialer = Listener("127.0.0.1"), Dialer()
    address = await listener.start()
    dialled = await asyncio.gather(*(dialer.dial(address) for _ in range(10)))
    assert len({id(each) for each in dialled}) == 1
    await dialer.aclose()
    await listener.aclose()


async def test_a_lost_connection_is_dialled_anew(pair: Pair):
    pair.far._transport.abort()
    await pair.far._closed
    again = await pair.dialer.dial(pair.listener.address)
    assert again is not pair.far
    assert not again.lost


async def test_a_listener_that_is_gone_is_unreachable():
    listener, dialer = Listener("127.0.0.1"), Dialer()
    address = await listener.start()
    await listener.aclose()
    with pytest.raises(Unreachable, match=rf"127.0.0.1:{address.port} can't be reached"):
        await dialer.dial(address)


async def test_a_listener_that_never_answers_is_unreachable():
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    dialer = Dialer(deadline=0.05)
    with pytest.raises(Unreachable, match="no answer within"):
        await dialer.dial(Address("127.0.0.1", port, b"x" * TOKEN_BYTES))
    server.close()
    await server.wait_closed()


async def test_a_wrong_token_makes_the_listener_unreachable(pair: Pair):
    address = pair.listener.address
    with pytest.raises(Unreachable):
        await Dialer().dial(Address(address.host, address.port, bytes(TOKEN_BYTES)))


async def test_a_token_is_not_shown():
    assert "token" not in repr(Address("127.0.0.1", 1, b"secret-token"))


async def test_a_reader_far_behind_costs_no_more_than_its_window(pair: Pair):
    outlet, inlet = pair.stream()
    sending = asyncio.create_task(send(outlet, (json.dumps({"n": n}) for n in range(100_000))))
    got = 0
    async for batch in inlet.batches():
        assert sum(len(chunk) for chunk in batch) <= WINDOW
        got += len(batch)
    await sending
    assert got == 100_000


async def test_tls_follows_rays_setting(tmp_path, monkeypatch, caplog):
    certificate, key = self_signed(tmp_path)
    for name, value in (
        ("RAY_USE_TLS", "1"),
        ("RAY_TLS_SERVER_CERT", certificate),
        ("RAY_TLS_SERVER_KEY", key),
        ("RAY_TLS_CA_CERT", certificate),
    ):
        monkeypatch.setenv(name, value)
    async with connected() as pair:
        assert pair.far._transport.get_extra_info("cipher")
        outlet, inlet = pair.stream()
        await send(outlet, ["sealed"])
        assert await read(inlet) == ["sealed"]
        with caplog.at_level(logging.CRITICAL, "asyncio"):
            plain = await stranger(pair.listener.address, frame(HELLO, 0, MAGIC + pair.listener.token))
        assert not plain or plain[0] == 0x15  # nothing, or a TLS alert


async def test_tls_without_its_files_says_which(monkeypatch):
    monkeypatch.setenv("RAY_USE_TLS", "1")
    monkeypatch.setenv("RAY_TLS_SERVER_CERT", "/nowhere.pem")
    with pytest.raises(Exception, match="RAY_TLS_SERVER_KEY, RAY_TLS_CA_CERT is not; write the file's path there"):
        await Listener("127.0.0.1").start()


def self_signed(folder) -> tuple[str, str]:
    """Return a certificate for 127.0.0.1 that is its own authority, and its key."""
    import datetime as dt
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "anabranch")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "tls.crt", folder / "tls.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(certificate_file), str(key_file)
