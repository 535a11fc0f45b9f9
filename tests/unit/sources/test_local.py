"""Which files of this machine may be read, and what is said about the others."""

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from app.domain.errors import SourceCode, SourceError
from app.sources.local import SAMPLE_BYTES, LocalSource, LocalSources


@dataclass
class Disk:
    """A root with files, and a folder beside it that must stay out of reach."""

    root: Path
    outside: Path

    @property
    def sources(self) -> LocalSources:
        return LocalSources([self.root])


@pytest.fixture
def disk() -> Iterator[Disk]:
    with tempfile.TemporaryDirectory() as folder:
        real = Path(folder).resolve()
        real.chmod(0o755)
        (real / "root" / "sub").mkdir(parents=True)
        (real / "outside").mkdir()
        (real / "root" / "a.csv").write_bytes(b"a,b\n1,2\n")
        (real / "root" / "sub" / "b.csv").write_bytes(b"sub")
        (real / "outside" / "secret").write_bytes(b"secret")
        yield Disk(real / "root", real / "outside")


@contextmanager
def unprivileged() -> Iterator[None]:
    """Run as nobody where the tests run as root, who passes every permission check."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def read(sources: LocalSources, path: str | Path) -> bytes:
    with sources.locate(str(path)).open() as stream:
        return stream.read(100)


def refusal(sources: LocalSources, path: str | Path) -> SourceError:
    """Return the error, the same from whatever is done with the path."""
    with pytest.raises(SourceError) as caught:
        read(sources, path)
    for use in (LocalSource.fingerprint, LocalSource.open, LocalSource.open_seekable):
        with pytest.raises(SourceError) as again:
            use(sources.locate(str(path)))
        assert (again.value.code, again.value.message) == (caught.value.code, caught.value.message)
    assert caught.value.remedy
    return caught.value


# ---- what may be read


def test_files_below_a_root_are_read(disk: Disk) -> None:
    assert read(disk.sources, disk.root / "a.csv") == b"a,b\n1,2\n"
    assert read(disk.sources, disk.root / "sub" / "b.csv") == b"sub"
    assert read(disk.sources, f"{disk.root}//sub/./b.csv") == b"sub"


def test_a_file_url_is_its_path(disk: Disk) -> None:
    (disk.root / "50% ü?#.csv").write_bytes(b"odd")
    url = quote(f"{disk.root}/50% ü?#.csv")

    assert read(disk.sources, f"file://{url}") == b"odd"
    assert read(disk.sources, f"FILE://localhost{url}") == b"odd"
    assert read(disk.sources, f"{disk.root}/50% ü?#.csv") == b"odd"


def test_a_name_that_is_not_utf_8_can_be_given(disk: Disk) -> None:
    (disk.root / os.fsdecode(b"caf\xe9")).write_bytes(b"latin")
    assert read(disk.sources, f"file://{disk.root}/caf%E9") == b"latin"


def test_a_root_may_itself_be_a_link(disk: Disk) -> None:
    link = disk.outside / "link"
    link.symlink_to(disk.root)

    assert read(LocalSources([link]), link / "sub" / "b.csv") == b"sub"
    assert read(LocalSources([link]), disk.root / "sub" / "b.csv") == b"sub"


def test_a_root_that_is_a_link_inside_another_root_counts(disk: Disk) -> None:
    link = disk.root / "link"
    link.symlink_to(disk.outside)

    assert read(LocalSources([disk.root, link]), link / "secret") == b"secret"


def test_a_folder_that_may_be_passed_through_need_not_be_listable(disk: Disk) -> None:
    (disk.root / "sub").chmod(0o111)
    with unprivileged():
        with pytest.raises(PermissionError):
            list((disk.root / "sub").iterdir())
        assert read(disk.sources, disk.root / "sub" / "b.csv") == b"sub"


# ---- what may not


def test_without_roots_nothing_is_read(disk: Disk) -> None:
    assert refusal(LocalSources([]), disk.root / "a.csv").code == SourceCode.SOURCE_FORBIDDEN


@pytest.mark.parametrize(
    "path",
    [
        "{outside}/secret",
        "{outside}/missing",
        "{outside}",
        "{root}-beside",
        "{root}/../outside/secret",
        "{root}/sub/../a.csv",
        "{root}/..",
        "{root}",
        "/etc/passwd",
        "/proc/self/environ",
        "a.csv",
        "./a.csv",
        "",
        "/",
        "/{root}/a.csv",
        "{root}/a.csv\0",
        "{root}\0/a.csv",
        "{root}/\ud800",
        "file:///etc/passwd",
        "file://{root}/../outside/secret",
        "file://{root}/%2e%2e/outside/secret",
        "file://{root}/..%2foutside/secret",
        "file://{root}/a.csv%00",
        "file://elsewhere{root}/a.csv",
        "file://{root}/a.csv?x=1",
        "file://{root}/a.csv#x",
        "file://[{root}/a.csv",
        "file:a.csv",
        "http://{root}/a.csv",
        "\\{root}\\a.csv",
        "~/a.csv",
    ],
)
def test_the_answer_is_the_same_whether_or_not_the_file_exists(disk: Disk, path: str) -> None:
    path = path.replace("{root}", str(disk.root)).replace("{outside}", str(disk.outside))
    error, reference = (
        refusal(disk.sources, name) for name in (path, disk.outside / "not-there-at-all")
    )
    assert error.code == SourceCode.SOURCE_FORBIDDEN
    assert (error.message, error.remedy) == (reference.message, reference.remedy)


@pytest.mark.parametrize("target", ["a.csv", "../outside/secret", "../outside/missing", "link"])
def test_a_link_is_refused_wherever_it_leads(disk: Disk, target: str) -> None:
    (disk.root / "link").symlink_to(target)
    error = refusal(disk.sources, disk.root / "link")

    assert error.code == SourceCode.SOURCE_FORBIDDEN
    assert "symbolic link" in error.message


@pytest.mark.parametrize("target", ["sub", "../outside", "../missing"])
def test_a_folder_that_is_a_link_is_refused_wherever_it_leads(disk: Disk, target: str) -> None:
    (disk.root / "folder").symlink_to(target)
    error = refusal(disk.sources, disk.root / "folder" / "b.csv")

    assert error.code == SourceCode.SOURCE_FORBIDDEN
    assert "symbolic link" in error.message


def test_a_folder_swapped_for_a_link_after_the_check_leads_nowhere(disk: Disk) -> None:
    source = disk.sources.locate(str(disk.root / "sub" / "secret"))
    (disk.root / "sub").rename(disk.root / "old")
    (disk.root / "sub").symlink_to(disk.outside)

    with pytest.raises(SourceError) as caught:
        source.fingerprint()
    assert caught.value.code == SourceCode.SOURCE_FORBIDDEN


# ---- what cannot


@pytest.mark.parametrize("path", ["missing", "sub/missing", "no/such/folder", "a.csv/x", "x" * 300])
def test_a_missing_file_is_not_found(disk: Disk, path: str) -> None:
    assert refusal(disk.sources, disk.root / path).code == SourceCode.SOURCE_NOT_FOUND


def test_a_root_that_is_missing_has_no_files(tmp_path: Path) -> None:
    sources = LocalSources([tmp_path / "later"])
    assert refusal(sources, tmp_path / "later" / "f").code == SourceCode.SOURCE_NOT_FOUND

    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "f").write_bytes(b"x")
    assert read(sources, tmp_path / "later" / "f") == b"x"


def test_a_folder_is_not_a_file(disk: Disk) -> None:
    error = refusal(disk.sources, disk.root / "sub")
    assert error.code == SourceCode.SOURCE_NOT_A_FILE
    assert "folder" in error.message


def test_a_fifo_is_not_a_file_and_nobody_waits_for_its_writer(disk: Disk) -> None:
    os.mkfifo(disk.root / "fifo")
    error = refusal(disk.sources, disk.root / "fifo")
    assert error.code == SourceCode.SOURCE_NOT_A_FILE
    assert "FIFO" in error.message


def test_a_socket_is_not_a_file(disk: Disk) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(disk.root / "socket"))
        assert refusal(disk.sources, disk.root / "socket").code == SourceCode.SOURCE_NOT_A_FILE


def test_a_device_is_not_a_file() -> None:
    error = refusal(LocalSources([Path("/dev")]), "/dev/zero")
    assert error.code == SourceCode.SOURCE_NOT_A_FILE
    assert "device" in error.message


def test_a_file_without_permission_is_unreadable(disk: Disk) -> None:
    (disk.root / "a.csv").chmod(0)
    (disk.root / "sub").chmod(0)
    with unprivileged():
        for path in ("a.csv", "sub/b.csv", "sub/missing"):
            assert refusal(disk.sources, disk.root / path).code == SourceCode.SOURCE_UNREADABLE
    (disk.root / "sub").chmod(0o755)


def test_a_disk_that_fails_while_it_is_read_is_unavailable() -> None:
    # No address is mapped at 0, so the kernel itself answers EIO.
    source = LocalSources([Path("/proc/self")]).locate("/proc/self/mem")
    with source.open() as stream, pytest.raises(SourceError) as caught:
        stream.read(10)
    assert caught.value.code == SourceCode.SOURCE_UNAVAILABLE

    with source.open_seekable() as file, pytest.raises(SourceError) as caught:
        file.read(10)
    assert caught.value.code == SourceCode.SOURCE_UNAVAILABLE


# ---- changes


def test_a_file_replaced_with_the_same_size_and_time_is_another_one(disk: Disk) -> None:
    source = disk.sources.locate(str(disk.root / "a.csv"))
    before = source.fingerprint()
    facts = (disk.root / "a.csv").stat()
    (disk.root / "a.csv").write_bytes(b"a,b\n1,3\n")
    os.utime(disk.root / "a.csv", ns=(facts.st_atime_ns, facts.st_mtime_ns))

    after = source.fingerprint()
    assert (after.size, after.modified_ns) == (before.size, before.modified_ns)
    assert before.difference(after) == "its first or last 64 KiB differ"


def test_a_file_only_touched_is_told_from_the_one_before(disk: Disk) -> None:
    source = disk.sources.locate(str(disk.root / "a.csv"))
    before = source.fingerprint()
    os.utime(disk.root / "a.csv", ns=(1, 1))
    assert before.difference(source.fingerprint()) == "its modification time differs"


def test_nothing_stays_open(disk: Disk) -> None:
    os.mkfifo(disk.root / "fifo")
    (disk.root / "link").symlink_to("a.csv")
    source = disk.sources.locate(str(disk.root / "sub" / "b.csv"))
    before = open_files()
    for _ in range(20):
        source.fingerprint()
        with source.open() as stream, source.open_seekable() as file:
            assert stream.read(1) == file.read(1)
        for name in ("missing", "fifo", "link", "sub/x/y", "a.csv/x"):
            with pytest.raises(SourceError):
                disk.sources.locate(str(disk.root / name)).fingerprint()
    assert open_files() == before


def test_bytes_replaced_in_the_middle_under_the_old_time_and_size_are_noticed(
    tmp_path: Path,
) -> None:
    """Fault S2: neither size, nor time, nor either end of the file tells."""
    path = tmp_path / "f"
    path.write_bytes(b"a" * 300_000)
    source = LocalSources([tmp_path]).locate(str(path))
    before, facts = source.fingerprint(), path.stat()

    path.write_bytes(b"a" * 150_000 + b"b" + b"a" * 149_999)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    after = source.fingerprint()
    assert (after.size, after.modified_ns, after.sample) == (
        before.size,
        before.modified_ns,
        before.sample,
    )
    assert before.difference(after)


@pytest.mark.parametrize("at", [0, SAMPLE_BYTES - 1, -SAMPLE_BYTES, -1])
def test_a_byte_changed_at_either_end_is_told_by_the_bytes_alone(tmp_path: Path, at: int) -> None:
    """Fault S2, on a file system that knows no time of the last change."""
    path = tmp_path / "f"
    source = LocalSources([tmp_path]).locate(str(path))
    content = bytearray(b"a" * 300_000)
    path.write_bytes(content)
    before = source.fingerprint()

    content[at] ^= 1
    path.write_bytes(content)

    assert source.fingerprint().sample != before.sample


def test_a_file_that_only_moved_is_the_same_to_whoever_reads_no_more_of_it(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"a")
    source = LocalSources([tmp_path]).locate(str(path))
    before = source.fingerprint()
    path.rename(tmp_path / "g")
    (tmp_path / "g").rename(path)
    assert not before.difference(source.fingerprint(), in_attributes=False)
