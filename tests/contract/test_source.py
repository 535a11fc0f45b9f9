"""What every source promises. One that passes can stand behind any decoder."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.ports import ByteStream, Source
from app.sources.local import LocalSources
from tests.support.sources import BytesSource

CONTENT = bytes(range(256)) * 1_200  # above both 64 KiB samples together


@dataclass
class Place:
    """Somewhere a file can be put."""

    put: Callable[[bytes], Source]
    """Write the whole file and return the source that stands for it."""


@pytest.fixture(params=["local", "memory", "memory, 7 bytes a read"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    def on_disk(content: bytes) -> Source:
        path = tmp_path / "f"
        path.write_bytes(content)
        os.utime(path, ns=(1, 1))
        return LocalSources([tmp_path]).locate(str(path))

    match request.param:
        case "local":
            return Place(on_disk)
        case "memory":
            return Place(BytesSource)
        case _:
            return Place(lambda content: BytesSource(content, 7))


def read_all(stream: ByteStream, size: int) -> bytes:
    parts = []
    while part := stream.read(size):
        assert len(part) <= size
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("offset", [0, 1, 65_535, len(CONTENT) - 1, len(CONTENT)])
@pytest.mark.parametrize("size", [1_000, 64 * 1024, 10**6])
def test_the_bytes_from_any_offset_on_are_given_in_order(
    place: Place, offset: int, size: int
) -> None:
    with place.put(CONTENT).open(offset=offset) as stream:
        assert read_all(stream, size) == CONTENT[offset:]


def test_the_end_stays_the_end(place: Place) -> None:
    with place.put(b"abc").open() as stream:
        assert read_all(stream, 10) == b"abc"
        assert stream.read(10) == b""
        assert stream.read(10) == b""


def test_an_empty_file_and_an_offset_beyond_the_end_give_nothing(place: Place) -> None:
    with place.put(b"").open() as stream:
        assert stream.read(10) == b""
    with place.put(b"abc").open(offset=99) as stream:
        assert stream.read(10) == b""


def test_a_source_can_be_opened_many_times_at_once(place: Place) -> None:
    source = place.put(b"abcdef")
    with source.open() as one, source.open(offset=3) as other:
        assert one.read(1) + other.read(1) + one.read(1) == b"adb"


def test_the_whole_can_be_had_as_a_seekable_file(place: Place) -> None:
    with place.put(CONTENT).open_seekable() as file:
        assert file.seekable()
        assert file.seek(-3, os.SEEK_END) == len(CONTENT) - 3
        assert file.read() == CONTENT[-3:]
        file.seek(1)
        assert file.read(2) == CONTENT[1:3]


@pytest.mark.parametrize("content", [b"", b"a", CONTENT[: 100 * 1024], CONTENT])
def test_equal_bytes_have_equal_fingerprints(place: Place, content: bytes) -> None:
    source = place.put(content)
    fingerprint = source.fingerprint()
    assert fingerprint == source.fingerprint()
    assert fingerprint.size == len(content)
    assert not fingerprint.difference(place.put(content).fingerprint(), in_attributes=False)


@pytest.mark.parametrize(
    "changed",
    [
        b"X" + CONTENT[1:],
        CONTENT[:-1] + b"X",
        CONTENT[: 64 * 1024 - 1] + b"X" + CONTENT[64 * 1024 :],
        CONTENT[:-1],
        CONTENT + b"X",
        b"",
    ],
    ids=["first byte", "last byte", "byte 65535", "shorter", "longer", "emptied"],
)
def test_other_bytes_have_another_fingerprint(place: Place, changed: bytes) -> None:
    before = place.put(CONTENT).fingerprint()
    after = place.put(changed).fingerprint()

    assert after != before
    assert before.difference(after)


def test_a_fingerprint_is_the_same_wherever_the_bytes_are(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(CONTENT)
    local = LocalSources([tmp_path]).locate(str(tmp_path / "f")).fingerprint()
    memory = BytesSource(CONTENT).fingerprint()

    assert (local.size, local.sample) == (memory.size, memory.sample)
