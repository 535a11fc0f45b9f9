"""A short run over each decoder, by chance alone and from a fixed seed; and the judges judged."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from app.decoders.csv.columns import Columns
from app.decoders.json import lone_value
from app.decoders.json.array import JsonDecoder
from app.decoders.json.ndjson import NdjsonDecoder
from app.decoders.xlsx import xml
from app.domain.chunk import Batch, Cursor
from app.domain.errors import DecodeCode, DecodeError
from tests.fuzz import child
from tests.fuzz.case import KNOBS, Broken, Case
from tests.fuzz.formats import FORMATS
from tests.fuzz.mutation import mutated
from tests.fuzz.watch import fuzz
from tests.fuzz.watched import Watched
from tests.fuzz.workbook_case import packed, unpacked, zipped
from tests.support.workbooks import parts_of

RUNS = {"json": 800, "ndjson": 800, "csv": 800, "xlsx": 300}


@pytest.mark.parametrize("kind", FORMATS)
def test_the_rule_holds_for_what_chance_makes_of_a_few_files(kind: str) -> None:
    chosen, rng = FORMATS[kind], Random(20_261_123)
    corpus = list(chosen.seeds())
    for raw in corpus:
        chosen.judge(Case.of(raw))
    for _ in range(RUNS[kind]):
        raw = mutated(rng, corpus, chosen.tokens)
        try:
            chosen.judge(Case.of(raw))
        except Exception as error:
            error.add_note(f"the case: {raw!r}")
            raise


# ---- planted defects: a judge that never objects would pass all of the above


def judged(kind: str) -> None:
    for raw in FORMATS[kind].seeds():
        FORMATS[kind].judge(Case.of(raw))


@pytest.mark.parametrize(("kind", "decoder"), [("json", JsonDecoder), ("ndjson", NdjsonDecoder)])
def test_a_record_that_is_lost_is_found(
    kind: str, decoder: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = decoder.batches  # type: ignore[attr-defined]

    def without_the_last(self: object, cursor: Cursor) -> Iterator[Batch]:
        for batch in batches(self, cursor):
            if len(batch.records) > 1:
                yield replace(batch, records=batch.records[:-1], unsafe={})

    monkeypatch.setattr(decoder, "batches", without_the_last)
    with pytest.raises(Broken):
        judged(kind)


def test_compiled_loops_that_differ_from_python_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lone_value, "canonical", lambda value: b"0")
    with pytest.raises(Broken):
        judged("ndjson")


def test_a_cell_in_the_wrong_column_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Columns, "scanner", lambda self, dialect: None)
    monkeypatch.setattr(Columns, "_together", lambda self, rows: [b"{}" for _ in rows])
    with pytest.raises(Broken):
        judged("csv")


def test_a_text_that_is_changed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.decoders.xlsx.strings.unescape_text", str.upper)
    monkeypatch.setattr(xml, "_NAMED", {**xml._NAMED, "&lt;": "&"})
    with pytest.raises(Broken):
        judged("xlsx")


def test_an_exception_of_another_kind_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, cursor: Cursor) -> Iterator[Batch]:
        raise KeyError("foreign")

    monkeypatch.setattr(JsonDecoder, "batches", broken)
    with pytest.raises(KeyError):
        judged("json")


def test_an_error_without_a_place_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, cursor: Cursor) -> Iterator[Batch]:
        raise DecodeError(DecodeCode.MALFORMED, "somewhere")

    monkeypatch.setattr(NdjsonDecoder, "batches", broken)
    with pytest.raises(Broken, match="no place"):
        judged("ndjson")


# ---- the machinery


def test_a_case_is_its_knobs_and_a_file_whatever_the_bytes() -> None:
    assert Case.of(b"") == Case(bytes(KNOBS), b"")
    assert Case.of(b"\1" * KNOBS + b"file").content == b"file"


def test_parts_come_back_from_the_text_they_are_packed_in() -> None:
    parts = parts_of("<row/>", strings="<si/>")
    assert {name: part.decode() for name, part in unpacked(packed(parts)).items()} == parts
    assert zipped({}) == zipped(unpacked(b"no part at all"))


def test_a_finding_is_kept_once_with_the_command_that_replays_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def judge(raw: bytes) -> None:
        raise Broken("as planted")

    suspect = child.Suspect("json", judge, tmp_path)
    suspect(b"first")
    suspect(b"second")
    (kept,) = tmp_path.glob("json-*")
    assert kept.read_bytes() == b"first"
    assert f"python -m tests.fuzz --replay {kept}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fault", "name"), [("os.abort()", "crash"), ("[0 for _ in iter(int, 1)]", "hang")]
)
def test_the_case_that_kills_or_hangs_the_process_is_still_there(
    fault: str, name: str, tmp_path: Path
) -> None:
    program = (
        "import os, pathlib\n"
        "from tests.fuzz import child\n"
        "child.HANG_S = 0.2\n"
        f"suspect = child.Suspect('json', lambda raw: {fault}, pathlib.Path({str(tmp_path)!r}))\n"
        "suspect(b'the last one')\n"
    )
    died = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True)
    assert died.returncode < 0
    watched = Watched(tmp_path / "json.now")
    assert (watched.case(), watched.counts()) == (b"the last one", (1, 0))
    watched.close()


def test_a_run_from_the_command_ends_with_its_figures(tmp_path: Path) -> None:
    tally = fuzz(
        "ndjson",
        seconds=100,
        corpus=tmp_path / "corpus",
        findings=tmp_path / "findings",
        seed=1,
        runs=20,
    )
    assert tally.runs >= 20
    assert tally.findings == 0
