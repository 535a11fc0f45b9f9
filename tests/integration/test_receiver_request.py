"""What the receiver client sends, byte by byte, and to whom."""

import os
import socket

import pytest

from app.domain.delivery import Answer, NoAnswer, Reply, Silence
from app.receiver.http import OriginSettings
from app.wire.signature import verify
from tests.support import servers
from tests.support.posting import INGESTION_ID, NOW, a_message, a_receiver
from tests.support.servers import ScriptedServer


async def test_a_message_arrives_byte_for_byte() -> None:
    body = os.urandom(20 * 1024 * 1024)
    async with ScriptedServer(servers.answer()) as server, a_receiver() as receiver:
        reply = await receiver.post(a_message(server.url + "?key=a%20b&c", body), attempt=1)
        assert isinstance(reply, Answer)
        (request,) = server.requests
        assert request.body == body
        assert request.head.startswith(b"POST /ingest?key=a%20b&c HTTP/1.1\r\n")
        assert request.headers["content-length"] == str(len(body))
        assert "transfer-encoding" not in request.headers
        assert request.headers["host"] == f"127.0.0.1:{server.port}"


async def test_secrets_and_headers_go_to_their_own_origin_only() -> None:
    key = b"k" * 32
    async with (
        ScriptedServer(servers.answer()) as ours,
        ScriptedServer(servers.answer()) as other,
    ):
        settings = OriginSettings(secrets=(key,), headers={"Authorization": "Bearer t"})
        async with a_receiver(origins={f"http://127.0.0.1:{ours.port}/": settings}) as receiver:
            for server in (ours, other):
                await receiver.post(a_message(server.url), attempt=1)
        headers = ours.requests[0].headers
        assert headers["authorization"] == "Bearer t"
        fault = verify(
            message_id=headers["webhook-id"],
            timestamp=headers["webhook-timestamp"],
            signatures=headers["webhook-signature"],
            body=ours.requests[0].body,
            secrets=(key,),
            now_s=int(NOW.timestamp()),
        )
        assert fault is None
        assert {"authorization", "webhook-signature"}.isdisjoint(other.requests[0].headers)


async def test_every_send_is_a_new_span_in_the_trace_of_the_ingestion() -> None:
    async with ScriptedServer(servers.answer()) as server, a_receiver() as receiver:
        for attempt in (1, 2):
            await receiver.post(a_message(server.url), attempt=attempt)
        (_, trace, span, flags), (_, trace_2, span_2, _) = (
            one.headers["traceparent"].split("-") for one in server.requests
        )
        assert trace == trace_2 == INGESTION_ID[:32]
        assert span != span_2
        assert len(span) == 16
        assert flags == "01"


async def test_a_cookie_is_not_sent_back() -> None:
    script = servers.answer(headers=("Set-Cookie: session=1; Path=/",))
    async with ScriptedServer(script) as server, a_receiver() as receiver:
        for attempt in (1, 2):
            await receiver.post(a_message(server.url), attempt=attempt)
        assert "cookie" not in server.requests[1].headers


async def test_proxy_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedServer(servers.answer()) as proxy, ScriptedServer(servers.answer()) as ours:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with a_receiver() as receiver:
            reply = await receiver.post(a_message(ours.url), attempt=1)
        assert isinstance(reply, Answer)
        assert proxy.connections == 0


async def test_nobody_listens() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound, not listening: nobody else can take the port
        async with a_receiver() as receiver:
            url = f"http://127.0.0.1:{held.getsockname()[1]}/"
            reply: Reply = await receiver.post(a_message(url), attempt=1)
    assert isinstance(reply, NoAnswer)
    assert reply.reason is Silence.CONNECTION_FAILED
