"""Who may be called: one strict URL parser, one deny list, one allow list.

The service posts wherever an API client asks it to, from inside somebody's network. So a
callback must be a public address, unless an operator named it. The check is made when a
file is submitted, to say so early, and again for every connection, because names change:
what is connected to is the very address that was checked, never the name again.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias

from app.domain.errors import CallbackRefused

URL_CHARS_MAX = 2048
RESOLVE_S_MAX = 5.0
"""How long a submission waits for the name service."""

IpAddress: TypeAlias = IPv4Address | IPv6Address
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host name and port to literal addresses, best first. Raises ``OSError``."""

# Own list: `ipaddress.is_global` is True for multicast, NAT64 and 6to4 of a private address.
# Source: the IANA special-purpose registries of IPv4 and IPv6, and cloud vendors' documents.
_NOT_PUBLIC = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; Alibaba's metadata
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's host agent: public by number, local by routing
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
        # All of IPv6 but 2000::/3, the only part that is handed out: unspecified, loopback,
        # IPv4-mapped and -compatible, NAT64, discard, ULA, link- and site-local, multicast.
        "::/3",
        "4000::/2",
        "8000::/1",
        # Within 2000::/3:
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address inside
        "3fff::/20",  # documentation
    )
)

_ISATAP = frozenset({0x0000_5EFE, 0x0200_5EFE})
"""The upper half of an interface identifier whose lower half is an IPv4 address. RFC 5214 §6.1."""

_SHAPE = re.compile(r"(?i:(https?))://([^/?]+)([/?].*)?")
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:\[\]]+)(?::([1-9][0-9]{0,4}))?")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label like this makes resolvers read the whole name as an address (WHATWG URL 3.5)."""

_NEVER_IN_A_URL = frozenset('\\"<>^`{|}#')
_PORTS = {"http": 80, "https": 443}
_PORT_MAX = 65_535
_NAME_CHARS_MAX = 253
_FORM = "Write it as http(s)://host[:port][/path][?query], in ASCII, without credentials."


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """A callback URL, taken apart."""

    scheme: str
    host: str
    """Lower case; an address is in its shortest form, without brackets."""

    port: int
    rest: str
    """Path and query as given; perhaps empty."""

    @property
    def origin(self) -> str:
        """``scheme://host:port``, the port always named."""
        return f"{self.scheme}://{_joined(self.host, self.port)}"

    @property
    def authority(self) -> str:
        """``host[:port]`` as a ``Host`` header has it: the scheme's own port is not named."""
        joined = _joined(self.host, self.port)
        usual = f":{_PORTS[self.scheme]}"
        return joined.removesuffix(usual) if self.port == _PORTS[self.scheme] else joined


def parse_callback(url: str) -> Callback:
    """Take a callback URL apart; the only parser that decides who is called.

    Raises
    ------
    CallbackRefused
        Anything another parser could read differently.
    """
    if len(url) > URL_CHARS_MAX:
        raise _malformed(f"has more than {URL_CHARS_MAX} characters")
    if not all("!" <= char <= "~" for char in url):
        raise _malformed("holds a space, a control character, or one outside ASCII")
    if strange := _NEVER_IN_A_URL.intersection(url):
        raise _malformed(f"holds {min(strange)!r}")
    shape = _SHAPE.fullmatch(url)
    if shape is None:
        raise _malformed("is not an absolute http or https URL with a host")
    scheme, authority, rest = shape[1].lower(), shape[2], shape[3] or ""
    if "@" in authority:
        raise _malformed("holds credentials; those belong in the service's settings")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None or int(parts[2] or 1) > _PORT_MAX:
        raise _malformed("has no valid host and port")
    return Callback(
        scheme=scheme,
        host=_host(parts[1]),
        port=int(parts[2] or _PORTS[scheme]),
        rest=rest,
    )


async def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class EgressPolicy:
    """Public addresses, and what an operator allowed besides.

    Parameters
    ----------
    allow
        ``host``, ``address`` or ``network/bits``, each with ``:port`` or, for any port,
        without; an IPv6 one that has a port is in brackets. ``http://host:port`` means the
        same as ``host:port``. A host is allowed wherever it resolves to; an address or
        network, under whatever name. Raises ``ValueError`` for anything else.
    resolve
        The name service.
    """

    def __init__(self, *, allow: Sequence[str] = (), resolve: Resolve = resolve) -> None:
        self._rules = tuple(_rule(entry) for entry in allow)
        self._resolve = resolve

    async def check(self, url: str) -> str:
        """Return the origin of ``url``; raise `CallbackRefused` when it may not be called.

        A name that does not resolve now is refused too: a typing error is likelier than a
        receiver whose name comes into being later, and here somebody still reads the answer.
        """
        callback = parse_callback(url)
        try:
            async with asyncio.timeout(RESOLVE_S_MAX):
                await self.addresses(callback.host, callback.port)
        except OSError as error:  # TimeoutError is one
            raise CallbackRefused(
                f"the callback's host {callback.host} does not resolve",
                remedy="Correct the host name, or the name service, and submit again.",
            ) from error
        return callback.origin

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses that may be connected to now, best first; at least one.

        Raises
        ------
        CallbackRefused
            One of them is neither public nor allowed: then none is trusted.
        OSError
            The name does not resolve.
        """
        host = _host(f"[{host}]" if ":" in host else host)
        literal = _literal(host)
        found = (literal,) if literal else await self._resolve(host, port)
        addresses = tuple(ip_address(address) for address in found)
        if not addresses:
            raise OSError("the name service knows no address")
        if not any(rule.names(host, port) for rule in self._rules):
            for address in addresses:
                self._require_public(address, host, port)
        return tuple(str(address) for address in addresses)

    def _require_public(self, address: IpAddress, host: str, port: int) -> None:
        if _is_public(address):
            return
        if any(rule.covers(address, port) for rule in self._rules):
            return
        # The address stays unsaid: the answer must not map the network for a stranger.
        raise CallbackRefused(
            f"the callback {_joined(host, port)} is, or resolves to, an address that is not public",
            remedy=f"If it is the right one, add {_joined(host, port)} to INGEST_CALLBACK_ALLOW.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """One entry of the allow list: a name or a network."""

    host: str | None = None
    network: IPv4Network | IPv6Network | None = None
    port: int | None = None
    """``None`` is any."""

    def names(self, host: str, port: int) -> bool:
        return self.host == host and self.port in (None, port)

    def covers(self, address: IpAddress, port: int) -> bool:
        return self.network is not None and address in self.network and self.port in (None, port)


def _rule(entry: str) -> _Rule:
    try:
        host, port = _split_origin(entry) if "://" in entry else _split(entry)
        if "/" in host or _literal(host):
            return _Rule(network=ip_network(host), port=port)
        return _Rule(host=_host(host), port=port)
    except (ValueError, CallbackRefused) as error:
        raise ValueError(
            f"INGEST_CALLBACK_ALLOW: {entry!r} is not host[:port], address[:port] or "
            f"network/bits[:port]: {error}"
        ) from error


def _split_origin(entry: str) -> tuple[str, int | None]:
    callback = parse_callback(entry)
    if callback.rest not in ("", "/"):
        raise ValueError("a path cannot be allowed, only a host")
    return callback.host, callback.port


def _split(entry: str) -> tuple[str, int | None]:
    """Split ``host[:port]``, where an IPv6 host with a port is in brackets."""
    bracketed = re.fullmatch(r"\[([^\]]*:[^\]]*)\](?::([1-9][0-9]{0,4}))?", entry)
    plain = re.fullmatch(r"([^:\[\]]+)(?::([1-9][0-9]{0,4}))?", entry)
    match = bracketed or plain
    if match is None:
        return str(ip_network(entry)), None  # IPv6 without brackets
    port = int(match[2]) if match[2] else None
    if port is not None and port > _PORT_MAX:
        raise ValueError("no such port")
    return match[1], port


def _host(text: str) -> str:
    """Return a host in its one spelling, or refuse it."""
    host = text.lower()
    if host.startswith("["):
        try:
            address = IPv6Address(host[1:-1])
        except ValueError as error:
            raise _malformed(f"has the host {text}, which is no IPv6 address") from error
        if address.scope_id is not None:
            raise _malformed(f"has the host {text}: an address with a zone is link-local")
        return str(address)
    labels = host.split(".")
    if _NUMERIC.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(host))
        except ValueError as error:
            raise _malformed(
                f"has the host {text}, which is not an IPv4 address as four decimal numbers"
            ) from error
    if len(host) > _NAME_CHARS_MAX or not all(map(_LABEL.fullmatch, labels)):
        raise _malformed(f"has the host {text[:_NAME_CHARS_MAX]!r}, which is no host name")
    return host


def _literal(host: str) -> str | None:
    """Return a host that is an address; ``None`` for a name."""
    try:
        return str(ip_address(host))
    except ValueError:
        return None


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _malformed(what: str) -> CallbackRefused:
    return CallbackRefused(f"the callback URL {what}", remedy=_FORM)


def _is_public(address: IpAddress) -> bool:
    if any(address in network for network in _NOT_PUBLIC):
        return False
    if address.version == 6 and int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:
        # Whatever the prefix: its router hands the packet to the IPv4 address inside.
        return _is_public(IPv4Address(int(address) & 0xFFFF_FFFF))
    return True
