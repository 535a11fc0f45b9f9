"""Client CPU of one POST, by HTTP transport: the measurement behind ADR 3 and ADR 16.

    python -m benchmarks.transports

The sink runs in a process of its own; the client posts over one kept-alive
loopback connection under uvloop. The transports take turns, so that a slow moment of the
machine hits all of them; what is printed are medians of user + system CPU time, and ratios
within this run. Needs the benchmark-only packages aiohttp and httpx-aiohttp.
"""

import argparse
import asyncio
import ssl
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import aiohttp
import httpx
import httpx_aiohttp
import uvloop

from app.receiver.exchange import Endpoint
from app.receiver.transport import LeanTransport
from benchmarks.receiving import running_sink

_HEADERS = {
    "content-type": "application/json",
    "webhook-id": "chk_0f_1_0",
    "webhook-timestamp": "1760000000",
    "content-digest": "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
    "idempotency-key": '"0f:1"',
    "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "ingest-protocol": "1",
    "ingest-event": "ingestion.chunk",
    "ingest-attempt": "1",
    "accept": "application/json, application/problem+json",
}
Post = Callable[[bytes], Awaitable[bytes]]


def with_transport(transport: httpx.AsyncBaseTransport, url: str) -> Post:
    """Post through an httpx transport, without a client above it."""
    target = httpx.URL(url)

    async def post(body: bytes) -> bytes:
        request = httpx.Request("POST", target, content=body, headers=_HEADERS)
        response = await transport.handle_async_request(request)
        answer = b"".join([part async for part in response.aiter_raw()])
        await response.aclose()
        return answer

    return post


def with_client(client: httpx.AsyncClient, url: str) -> Post:
    """Post through httpx's client, the answer read raw."""

    async def post(body: bytes) -> bytes:
        async with client.stream("POST", url, content=body, headers=_HEADERS) as response:
            return b"".join([part async for part in response.aiter_raw()])

    return post


def with_aiohttp(session: aiohttp.ClientSession, url: str) -> Post:
    """Post through aiohttp itself, for reference."""

    async def post(body: bytes) -> bytes:
        async with session.post(url, data=body, headers=_HEADERS) as response:
            return await response.read()

    return post


def with_lean(transport: LeanTransport, url: str) -> Post:
    """Post through our own transport, as `HttpReceiver` does."""
    target = httpx.URL(url)
    endpoint = Endpoint(target.scheme, target.host, target.port or 80)
    line = f"POST {target.raw_path.decode()} HTTP/1.1\r\nHost: {target.netloc.decode()}"

    async def post(body: bytes) -> bytes:
        fields = _HEADERS | {"content-length": str(len(body))}
        head = "\r\n".join((line, *[f"{k}: {v}" for k, v in fields.items()], "", "")).encode()
        until = asyncio.get_running_loop().time() + 60
        return (await transport.exchange(endpoint, head, (body,), until=until)).body

    return post


async def _here(host: str, _port: int) -> Sequence[str]:
    return (host,)


async def measure(url: str, *, body_bytes: int, rounds: int, posts: int) -> dict[str, float]:
    """Return the median microseconds of client CPU per POST, by transport."""
    body = bytes(body_bytes)
    async with AsyncExitStack() as stack:
        transports: dict[str, httpx.AsyncBaseTransport] = {
            "stock": httpx.AsyncHTTPTransport(trust_env=False),
            "aiohttp": httpx_aiohttp.AiohttpTransport(trust_env=False),
        }
        ways: dict[str, Post] = {}
        for name, transport in transports.items():
            client = httpx.AsyncClient(transport=transport, trust_env=False)
            await stack.enter_async_context(client)  # closes the transport
            ways[f"AsyncClient, {name}"] = with_client(client, url)
            ways[f"transport, {name}"] = with_transport(transport, url)
        lean = LeanTransport(addresses=_here, tls=ssl.create_default_context())
        stack.push_async_callback(lean.aclose)
        ways["our own"] = with_lean(lean, url)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        ways["aiohttp alone"] = with_aiohttp(session, url)
        spent: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, post in ways.items():
                await post(body)
                start = time.process_time()
                for _ in range(posts):
                    await post(body)
                spent[name].append((time.process_time() - start) / posts * 1e6)
    return {name: statistics.median(times) for name, times in spent.items()}


def main() -> None:
    """Print a table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=15)
    arguments.add_argument("--posts", type=int, default=200)
    options = arguments.parse_args()
    with running_sink() as sink:
        for body_bytes in (5_000, 300_000):
            medians = uvloop.run(
                measure(sink.url, body_bytes=body_bytes, rounds=options.rounds, posts=options.posts)
            )
            print(f"\n{body_bytes:,} bytes: client CPU per POST")
            for name, microseconds in medians.items():
                ratio = medians["AsyncClient, stock"] / microseconds
                print(f"  {name:22} {microseconds:7.0f} µs   {ratio:4.1f} ×")


if __name__ == "__main__":
    main()
