"""Whom the receiver client connects to: only a checked address, verified by name."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from app.domain.delivery import Answer, NoAnswer, Silence
from app.receiver.egress import EgressPolicy, Resolve
from app.receiver.http import HttpReceiver
from tests.support import servers
from tests.support.clocks import ManualClock
from tests.support.posting import a_message, a_receiver
from tests.support.servers import ScriptedServer

NAME = "receiver.test"


def knows(*addresses: str) -> Resolve:
    """Return a name service that gives these for every name."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolve


@pytest_asyncio.fixture
async def dialled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every address the event loop was asked to connect to."""
    asked: list[str] = []
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def watched(factory: object, host: str, port: int, **options: object) -> object:
        asked.append(host)
        return await connect(factory, host, port, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(loop, "create_connection", watched)
    return asked


# ---- blocked: not one socket


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("127.0.0.1", ()),
        ("[::1]", ()),
        ("[::ffff:127.0.0.1]", ()),
        ("169.254.169.254", ()),
        (NAME, ("127.0.0.1",)),
        (NAME, ("93.184.215.14", "127.0.0.1")),
        (NAME, ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::1")),
        (NAME, ("64:ff9b::7f00:1",)),
        ("0177.0.0.1", ()),
        ("2130706433", ()),
        ("user@127.0.0.1", ()),
    ],
)
async def test_a_blocked_callback_opens_no_socket(
    host: str, addresses: tuple[str, ...], dialled: list[str]
) -> None:
    async with (
        ScriptedServer(servers.answer()) as server,
        a_receiver(allow=(), resolve=knows(*addresses)) as receiver,
    ):
        url = f"http://{host}:{server.port}/"
        reply = await receiver.post(a_message(url), attempt=1)
        assert isinstance(reply, NoAnswer)
        assert reply.reason is Silence.URL_BLOCKED
        assert reply.detail
        assert dialled == []
        assert server.connections == 0


async def test_a_name_that_turns_bad_after_the_submission_is_blocked(dialled: list[str]) -> None:
    found = [("93.184.215.14",), ("127.0.0.1",)]  # DNS rebinding

    async def resolve(host: str, port: int) -> Sequence[str]:
        return found.pop(0)

    egress = EgressPolicy(resolve=resolve)
    await egress.check(f"http://{NAME}/")
    async with HttpReceiver(egress=egress, clock=ManualClock()) as receiver:
        reply = await receiver.post(a_message(f"http://{NAME}/"), attempt=1)
    assert isinstance(reply, NoAnswer)
    assert reply.reason is Silence.URL_BLOCKED
    assert dialled == []


# ---- allowed: the checked address, under the name that was asked for


async def test_the_checked_address_is_connected_to_under_the_callbacks_name(
    dialled: list[str],
) -> None:
    for name in (NAME, "xn--bcher-kva.test", "my_receiver"):
        async with ScriptedServer(servers.answer()) as server:
            origin = f"{name}:{server.port}"
            async with a_receiver(allow=(origin,), resolve=knows("127.0.0.1")) as receiver:
                reply = await receiver.post(a_message(f"http://{origin}/"), attempt=1)
            assert isinstance(reply, Answer), reply
            assert server.requests[0].headers["host"] == origin
    assert dialled == ["127.0.0.1"] * 3


async def test_another_address_is_tried_when_the_first_one_refuses(dialled: list[str]) -> None:
    async with (
        ScriptedServer(servers.answer()) as server,
        a_receiver(allow=(NAME,), resolve=knows("127.0.0.2", "127.0.0.1")) as receiver,
    ):
        reply = await receiver.post(a_message(f"http://{NAME}:{server.port}/"), attempt=1)
        assert isinstance(reply, Answer), reply
        assert dialled == ["127.0.0.2", "127.0.0.1"]
        assert len(server.requests) == 1


async def test_no_other_address_is_tried_once_something_was_sent(dialled: list[str]) -> None:
    async with (
        ScriptedServer(servers.raw_then_close(), servers.answer()) as server,
        a_receiver(allow=(NAME,), resolve=knows("127.0.0.1", "127.0.0.1")) as receiver,
    ):
        reply = await receiver.post(a_message(f"http://{NAME}:{server.port}/"), attempt=1)
        assert isinstance(reply, NoAnswer)
        assert reply.reason is Silence.CONNECTION_LOST
        assert dialled == ["127.0.0.1"]


async def test_a_connection_lost_before_the_request_is_written_is_reported_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def connect_and_dawdle(*arguments: object, **options: object) -> object:
        transport, protocol = await connect(*arguments, **options)  # type: ignore[call-overload]
        while not transport.is_closing():
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # the protocol is told in the next round
        return transport, protocol

    monkeypatch.setattr(loop, "create_connection", connect_and_dawdle)
    async with (
        ScriptedServer(servers.reset_unread()) as server,
        a_receiver(deadline_s=300) as receiver,
        asyncio.timeout(60),
    ):
        reply = await receiver.post(a_message(server.url), attempt=1)
        assert isinstance(reply, NoAnswer)
        assert reply.reason is Silence.CONNECTION_LOST


async def test_a_name_that_does_not_resolve_is_a_failed_connection() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async with a_receiver(resolve=resolve) as receiver:
        reply = await receiver.post(a_message(f"http://{NAME}/"), attempt=1)
    assert isinstance(reply, NoAnswer)
    assert reply.reason is Silence.CONNECTION_FAILED
    assert "does not resolve" in reply.detail


async def test_a_name_service_that_hangs_ends_with_the_deadline() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        raise AssertionError

    async with a_receiver(resolve=resolve, deadline_s=0.1) as receiver:
        reply = await receiver.post(a_message(f"http://{NAME}/"), attempt=1)
    assert isinstance(reply, NoAnswer)
    assert reply.reason is Silence.TIMEOUT


# ---- TLS


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(("openssl", *arguments), cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate authority, and the key and certificate of ``NAME``."""
    folder = tmp_path_factory.mktemp("authority")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    _openssl(
        folder, "req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=CA"
    )
    _openssl(
        folder, "req", "-x509", *new_key, "-keyout", "key.pem", "-out", "cert.pem",
        "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
        "-addext", "basicConstraints=critical,CA:FALSE", "-CA", "ca.pem", "-CAkey", "ca.key",
    )  # fmt: skip
    return folder


def _server_side(authority: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "cert.pem", authority / "key.pem")
    return context


async def test_a_certificate_is_verified_by_the_callbacks_name(authority: Path) -> None:
    names: list[str] = []
    context = _server_side(authority)
    context.sni_callback = lambda connection, name, own: names.append(name)
    trusting = ssl.create_default_context(cafile=str(authority / "ca.pem"))
    async with (
        ScriptedServer(servers.answer(), tls=context) as server,
        a_receiver(
            resolve=knows("127.0.0.1"),
            tls=trusting,
        ) as receiver,
    ):
        url = f"https://{NAME}:{server.port}/"
        for attempt in (1, 2):
            reply = await receiver.post(a_message(url, bytes(3_000_000)), attempt=attempt)
            assert isinstance(reply, Answer), reply
            assert reply.ack
        assert names == [NAME]
        assert server.connections == 1
        for stranger in ("other.test", "127.0.0.1"):
            url = f"https://{stranger}:{server.port}/"
            refused = await receiver.post(a_message(url), attempt=1)
            assert isinstance(refused, NoAnswer)
            assert refused.reason is Silence.CONNECTION_FAILED
            assert "certificate" in refused.detail
        assert len(server.requests) == 2


async def test_an_unknown_authority_is_refused_by_default(authority: Path) -> None:
    async with (
        ScriptedServer(servers.answer(), tls=_server_side(authority)) as server,
        a_receiver(resolve=knows("127.0.0.1")) as receiver,
    ):
        reply = await receiver.post(a_message(f"https://{NAME}:{server.port}/"), attempt=1)
        assert isinstance(reply, NoAnswer)
        assert reply.reason is Silence.CONNECTION_FAILED
        assert "certificate" in reply.detail
        assert server.requests == []


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (servers.close_unread(), Silence.CONNECTION_FAILED),
        (servers.reset_unread(), Silence.CONNECTION_FAILED),
        (servers.hang_unread(), Silence.TIMEOUT),
    ],
)
async def test_a_handshake_that_fails_is_a_failed_connection(
    script: servers.Script, reason: Silence
) -> None:
    deadline_s = 0.4 if reason is Silence.TIMEOUT else 60
    async with ScriptedServer(script) as server, a_receiver(deadline_s=deadline_s) as receiver:
        url = f"https://127.0.0.1:{server.port}/"
        reply = await receiver.post(a_message(url), attempt=1)
        assert isinstance(reply, NoAnswer)
        assert reply.reason is reason
