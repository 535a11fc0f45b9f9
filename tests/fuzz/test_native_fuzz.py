"""The compiled scanners under the compiler's sanitizers; and the fuzzer put to the test."""

import shutil
from pathlib import Path

import pytest

from tests.fuzz.native import FLAGS, SCANNERS, NoSanitizers, compile_fuzzer, fuzz

EXECUTIONS = 100_000


def fuzzer(folder: Path, *, scanners: Path = SCANNERS, hang_s: int = 10) -> Path:
    try:
        return compile_fuzzer(folder, scanners=scanners, flags=[*FLAGS, f"-DHANG_S={hang_s}"])
    except NoSanitizers as missing:
        pytest.skip(f"nothing here compiles C with sanitizers: {missing}")


def edited(folder: Path, *edits: tuple[str, str, str]) -> Path:
    """Return a copy of the scanners. An edit: file, what stands there once, what will."""
    copy = folder / "scanners"
    copy.mkdir()
    for path in SCANNERS.glob("*.[ch]"):
        shutil.copy(path, copy)
    for name, old, new in edits:
        text = (copy / name).read_text()
        assert text.count(old) == 1, f"the edit has no place in {name} any more: {old}"
        (copy / name).write_text(text.replace(old, new))
    return copy


def test_the_compiled_scanners_touch_nothing_that_is_not_theirs(tmp_path: Path) -> None:
    tally = fuzz(fuzzer(tmp_path), seed=20_261_123, executions=EXECUTIONS)
    assert tally.findings == []
    assert tally.executions == EXECUTIONS


def test_nor_do_they_where_their_limits_are_met_all_the_time(tmp_path: Path) -> None:
    low = edited(
        tmp_path,
        ("tokens.h", "DEPTH_MAX = 200, DIGITS_MAX = 4000", "DEPTH_MAX = 4, DIGITS_MAX = 9"),
        ("tokens.h", "ORDERS = 8, ORDER_MAX = 64", "ORDERS = 2, ORDER_MAX = 3"),
    )
    tally = fuzz(fuzzer(tmp_path, scanners=low), seed=1, executions=EXECUTIONS // 4)
    assert tally.findings == []


# ---- planted defects: a fuzzer that never objects would pass all of the above


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        pytest.param(
            ("csv.c", "r.end - text < 16", "r.end - text < 14"),
            "AddressSanitizer",
            id="a read behind the input",
        ),
        pytest.param(
            ("csv.c", "(uint64_t)(at - start) + 1 + 16", "(uint64_t)(at - start) + 1"),
            "AddressSanitizer",
            id="a write behind the room",
        ),
        pytest.param(
            ("json.c", "length ? prefix >> ", "1 ? prefix >> "),
            "runtime error: shift exponent 64",
            id="undefined behaviour",
        ),
        pytest.param(
            (
                "tokens.h",
                "left < length)\n        return MORE",
                "left < length)\n        return ODD",
            ),
            "in pieces",
            id="a piece that ends in a word",
        ),
        pytest.param(
            ("json.c", "count++;\n        p++;", "count++;"),
            "it does not end",
            id="a loop without an end",
        ),
    ],
)
def test_a_planted_defect_is_found_and_found_again_by_its_number(
    edit: tuple[str, str, str], told: str, tmp_path: Path
) -> None:
    program = fuzzer(tmp_path, scanners=edited(tmp_path, edit), hang_s=1)
    (first,) = fuzz(program, seed=1, executions=EXECUTIONS).findings
    assert told in first.told
    assert first.execution is not None
    (again,) = fuzz(program, seed=first.execution, executions=1).findings
    assert (again.execution, again.reason) == (first.execution, first.reason)


# ---- the machinery


def test_each_execution_is_made_once_however_many_processes_share_them(tmp_path: Path) -> None:
    program = tmp_path / "native"
    program.write_text('#!/bin/sh\necho "$1 $2" >> "${0%/*}/made"\n')
    program.chmod(0o700)
    assert fuzz(program, seed=5, executions=100, workers=3).executions == 100
    made = [map(int, line.split()) for line in (tmp_path / "made").read_text().splitlines()]
    numbers = [number for first, count in made for number in range(first, first + count)]
    assert sorted(numbers) == list(range(5, 105))


def test_a_machine_without_a_compiler_is_told_apart_from_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(NoSanitizers, match="there is no C compiler 'no-such-compiler'"):
        compile_fuzzer(tmp_path)


def test_so_is_a_compiler_that_cannot_do_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "false")
    with pytest.raises(NoSanitizers, match="false -std=c11"):
        compile_fuzzer(tmp_path)


def test_sources_that_do_not_compile_are_no_reason_to_skip(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="does not compile"):
        fuzzer(tmp_path, scanners=edited(tmp_path, ("text.h", "ACKLINE_ABI 2", "ACKLINE_ABI 3")))
