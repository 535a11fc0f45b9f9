"""The one parser of callback URLs: every spelling that has fooled somebody."""

import ipaddress

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import CallbackRefused
from app.receiver.egress import Callback, EgressPolicy, parse_callback


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://receiver.example", "http://receiver.example:80"),
        ("https://receiver.example/", "https://receiver.example:443"),
        ("HTTPS://Receiver.EXAMPLE:8443/a?b=c@d:e/..//", "https://receiver.example:8443"),
        ("http://receiver.example?a[]=1", "http://receiver.example:80"),
        ("http://my_receiver:9000/x", "http://my_receiver:9000"),
        ("http://xn--bcher-kva.example/", "http://xn--bcher-kva.example:80"),
        ("http://1.2.3.4:1/", "http://1.2.3.4:1"),
        ("http://1e100.net/", "http://1e100.net:80"),
        ("http://0x7f.example/", "http://0x7f.example:80"),
        ("http://[2606:2800:0:0::1]:65535/", "http://[2606:2800::1]:65535"),
        ("http://[::FFFF:1.2.3.4]/", "http://[::ffff:102:304]:80"),
    ],
)
def test_a_url_has_one_origin(url: str, origin: str) -> None:
    assert parse_callback(url).origin == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "receiver.example",
        "//receiver.example/",
        "/path",
        "http:receiver.example",
        "http:/receiver.example",
        "http:///receiver.example",
        "http://",
        "http:///",
        "http://:80/",
        "http://?x",
        "ftp://receiver.example/",
        "file:///etc/passwd",
        "gopher://receiver.example/",
        "javascript:alert(1)",
        "httpſ://receiver.example/",
        # credentials, and what looks like them
        "http://user@receiver.example/",
        "http://user:password@receiver.example/",
        "http://@receiver.example/",
        "http://receiver.example@127.0.0.1/",
        "http://receiver.example:80@127.0.0.1/",
        "http://receiver.example%40127.0.0.1/",
        # parsers that read different hosts
        "http://receiver.example\\@127.0.0.1/",
        "http:\\\\receiver.example\\",
        "http://receiver.example\\.evil.example/",
        "http://receiver.example#@127.0.0.1/",
        "http://receiver.example/#fragment",
        "http://receiver.example:80:90/",
        "http://1.1.1.1 &@2.2.2.2# @3.3.3.3/",
        # white space, control characters, other alphabets
        " http://receiver.example/",
        "http://receiver.example/ ",
        "http://receiver.example/a b",
        "http://receiver.example/\r\nX: y",
        "http://receiver\t.example/",
        "http://receiver.example/\x00",
        "http://receiver.example/\x7f",
        "http://receiver.example\n",
        "http://bücher.example/",
        "http://receiver.example/ü",
        "http://①②⑦.⓪.⓪.①/",
        "http://127。0。0。1/",
        "http://１２７.0.0.1/",
        "http://ⓛocalhost/",
        "http://loc\u00adalhost/",
        "http://receiver.example\u2028/",
        # odd spellings of addresses
        "http://0177.0.0.1/",
        "http://2130706433/",
        "http://127.1/",
        "http://127.0.1/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://0x7f.0x0.0x0.0x1/",
        "http://0x/",
        "http://0/",
        "http://017700000001/",
        "http://127.0.0.01/",
        "http://127.0.0.1./",
        "http://127.0.0.256/",
        "http://1.2.3.4.5/",
        "http://999999999999/",
        "http://foo.123/",
        "http://[::1/",
        "http://::1/",
        "http://[::1]]/",
        "http://[]/",
        "http://[::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://[v1.fe]/",
        "http://[127.0.0.1]/",
        "http://[::127.0.0.01]/",
        "http://[1:2:3]/",
        "http://a[::1]/",
        # names
        "http://receiver.example./",
        "http://./",
        "http://.receiver.example/",
        "http://receiver..example/",
        "http://-receiver.example/",
        "http://receiver-.example/",
        "http://receiver%2eexample/",
        "http://receiver%00.example/",
        "http://recei;ver/",
        "http://re,ceiver/",
        "http://receiver*/",
        f"http://{'a' * 64}.example/",
        f"http://{'a.' * 130}example/",
        # ports
        "http://receiver.example:/",
        "http://receiver.example:0/",
        "http://receiver.example:080/",
        "http://receiver.example:65536/",
        "http://receiver.example:99999999/",
        "http://receiver.example:-1/",
        "http://receiver.example:+80/",
        "http://receiver.example:8o/",
        "http://receiver.example:٨٠/",
        f"http://receiver.example/{'a' * 2048}",
    ],
)
async def test_a_url_that_could_be_read_in_two_ways_is_refused(url: str) -> None:
    everything = EgressPolicy(allow=("0.0.0.0/0", "::/0", "receiver.example"))
    with pytest.raises(CallbackRefused) as caught:
        await everything.check(url)
    assert caught.value.code == "URL_BLOCKED"
    assert caught.value.remedy


@given(st.text(alphabet="htps:/.@[]%#?\\0123x7f1aZ-_ \t\u2460\u3002&=", max_size=40))
def test_what_is_accepted_httpx_sends_to_the_same_host(rest: str) -> None:
    try:
        callback = parse_callback(f"http://{rest}")
    except CallbackRefused:
        return
    url = httpx.URL(f"http://{rest}")
    assert url.scheme == "http"
    assert (url.port or 80) == callback.port
    assert url.userinfo == b""
    host = url.raw_host.decode()
    assert (str(ipaddress.ip_address(host)) if ":" in host else host) == callback.host


def test_parts_of_a_url_are_kept_as_given() -> None:
    assert parse_callback("http://Host/A%2f/../B?c=[1]") == Callback(
        scheme="http", host="host", port=80, rest="/A%2f/../B?c=[1]"
    )
