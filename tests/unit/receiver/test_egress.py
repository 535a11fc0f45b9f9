"""Who may be called: every special network, every form of the allow list."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import CallbackRefused
from app.receiver.egress import EgressPolicy

PUBLIC = "93.184.215.14"
PUBLIC_6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"


def _policy(*allow: str, found: Sequence[str] = (PUBLIC,)) -> EgressPolicy:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return found

    return EgressPolicy(allow=allow, resolve=resolve)


# ---- the deny list


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.100.100.200",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "192.168.255.255",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::2",
        "::127.0.0.1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:93.184.215.14",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::169.254.169.254",
        "64:ff9b::93.184.215.14",
        "64:ff9b:1::1",
        "64:ff9b:1:ffff::10.0.0.1",
        "100::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "2001:db8::1",
        "2a00:1450:4001:800:0:5efe:127.0.0.1",
        "2a00:1450:4001:800:200:5efe:a9fe:a9fe",
        "2002:7f00:1::1",
        "2002:a9fe:a9fe::1",
        "2002:5db8:d70e::1",
        "3fff::1",
        "3fff:fff::1",
        "4000::1",
        "5f00::1",
        "8000::1",
        "fc00::1",
        "fd00:ec2::254",
        "fd12:3456:789a::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ],
)
async def test_an_address_that_is_not_public_is_refused_by_number_and_by_name(
    address: str,
) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(CallbackRefused) as caught:
        await _policy().check(f"http://{host}:8080/")
    assert "INGEST_CALLBACK_ALLOW" in caught.value.remedy
    for found in ((address,), (PUBLIC, address), (address, PUBLIC_6), (PUBLIC, PUBLIC, address)):
        with pytest.raises(CallbackRefused) as caught:
            await _policy(found=found).check("http://receiver.example/")
        assert address not in caught.value.message
        assert "receiver.example:80" in caught.value.remedy


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        PUBLIC,
        PUBLIC_6,
        "2001:200::1",
        "2001:4860:4860::8888",
        "2003::1",
        "2a00:1450:4001::1",
        "3ffe::1",
    ],
)
async def test_a_public_address_may_be_called(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    await _policy().check(f"https://{host}/")
    assert await _policy(found=[address]).addresses("receiver.example", 443) == (address,)


@given(st.ip_addresses())
def test_nothing_python_calls_private_is_public_to_us(address: ipaddress.IPv4Address) -> None:
    async def is_refused() -> bool:
        try:
            await _policy().addresses(str(address), 80)
        except CallbackRefused:
            return True
        return False

    if not address.is_global:
        assert asyncio.run(is_refused())


async def test_a_zone_in_what_a_name_resolves_to_is_refused() -> None:
    with pytest.raises(CallbackRefused):
        await _policy(found=["fe80::1%eth0"]).check("http://printer.local/")


# ---- the allow list


@pytest.mark.parametrize(
    ("entry", "url", "found"),
    [
        ("127.0.0.1", "http://127.0.0.1:9000/", ""),
        ("127.0.0.1:9000", "http://127.0.0.1:9000/", ""),
        ("127.0.0.1/32:9000", "http://127.0.0.1:9000/", ""),
        ("127.0.0.0/8", "http://127.1.2.3:9000/", ""),
        ("http://127.0.0.1:9000", "https://127.0.0.1:9000/", ""),
        ("http://127.0.0.1:9000/", "http://127.0.0.1:9000/x?y", ""),
        ("[::1]:9000", "http://[::1]:9000/", ""),
        ("[::1]", "http://[0::1]:9000/", ""),
        ("::1", "http://[::1]:9000/", ""),
        ("fd00::/8", "http://[fd12::1]/", ""),
        ("[fd00::/8]:443", "https://[fd12::1]/", ""),
        ("http://[::1]:80", "http://[::1]/", ""),
        ("10.0.0.0/8:8080", "http://receiver.internal:8080/", "10.1.2.3"),
        ("receiver.internal", "http://receiver.internal:8080/", "10.1.2.3"),
        ("receiver.internal:8080", "http://receiver.internal:8080/", "10.1.2.3"),
        ("Receiver.Internal:8080", "http://RECEIVER.internal:8080/", "fd12::1"),
        ("https://receiver.internal", "https://receiver.internal/", "10.1.2.3"),
        ("localhost:9000", "http://localhost:9000/", "127.0.0.1"),
        ("my_receiver:9000", "http://my_receiver:9000/", "172.18.0.3"),
    ],
)
async def test_what_is_allowed_may_be_called(entry: str, url: str, found: str) -> None:
    with pytest.raises(CallbackRefused):
        await _policy(found=[found]).check(url)
    await _policy(entry, found=[found]).check(url)


@pytest.mark.parametrize(
    ("entry", "url", "found"),
    [
        ("127.0.0.1:9000", "http://127.0.0.1:9001/", ""),
        ("127.0.0.1:9000", "http://127.0.0.2:9000/", ""),
        ("127.0.0.1:9000", "http://[::ffff:127.0.0.1]:9000/", ""),
        ("127.0.0.0/8", "http://[::1]/", ""),
        ("receiver.internal:8080", "http://receiver.internal:8081/", "10.1.2.3"),
        ("receiver.internal:8080", "http://a.receiver.internal:8080/", "10.1.2.3"),
        ("receiver.internal:8080", "http://10.1.2.3:8080/", ""),
        ("10.0.0.0/8:8080", "http://receiver.internal:80/", "10.1.2.3"),
        ("10.0.0.0/8:8080", "http://receiver.internal:8080/", "192.168.1.1"),
        ("https://receiver.internal", "http://receiver.internal/", "10.1.2.3"),
    ],
)
async def test_an_entry_allows_nothing_else(entry: str, url: str, found: str) -> None:
    with pytest.raises(CallbackRefused):
        await _policy(entry, found=[found]).check(url)


async def test_one_address_outside_an_allowed_network_refuses_all() -> None:
    policy = _policy("10.0.0.0/8", found=["10.0.0.1", "192.168.0.1"])
    with pytest.raises(CallbackRefused):
        await policy.addresses("receiver.internal", 80)


@pytest.mark.parametrize(
    "entry",
    [
        "",
        ":80",
        "*",
        "*.internal",
        "host:",
        "host:0",
        "host:65536",
        "host:x",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "10.0.0.0/8:",
        "127.1",
        "0177.0.0.1",
        "[::1",
        "[::1]:",
        "::1/200",
        "[localhost]:80",
        "ftp://host",
        "http://host/path",
        "http://user@host",
        "host name",
        "höst",
        "host,other",
    ],
)
def test_an_entry_that_means_nothing_is_an_error_at_the_start(entry: str) -> None:
    with pytest.raises(ValueError, match="INGEST_CALLBACK_ALLOW"):
        EgressPolicy(allow=(entry,))


# ---- the name service


async def test_a_name_that_does_not_resolve_is_refused_with_its_own_message() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(CallbackRefused, match="does not resolve"):
        await EgressPolicy(resolve=resolve).check("http://receiver.example/")


async def test_a_name_without_addresses_is_refused() -> None:
    with pytest.raises(CallbackRefused, match="does not resolve"):
        await _policy(found=()).check("http://receiver.example/")


async def test_an_address_is_never_asked_for_at_the_name_service() -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        raise AssertionError(host)

    policy = EgressPolicy(resolve=resolve)
    await policy.check(f"http://{PUBLIC}/")
    await policy.check(f"http://[{PUBLIC_6}]/")


async def test_the_system_knows_localhost() -> None:
    with pytest.raises(CallbackRefused, match="not public"):
        await EgressPolicy().check("http://localhost:9000/")
    assert "127.0.0.1" in await EgressPolicy(allow=("localhost",)).addresses("localhost", 80)
