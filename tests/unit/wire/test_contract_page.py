"""The page and the code say the same."""

import re
from pathlib import Path

import pytest

from app.wire.answer import EXCERPT_BYTES
from app.wire.signature import TOLERANCE_S, SignatureFault
from tests.unit.wire import test_receiving, test_signature

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "receiver-contract.md").read_text("utf-8")
CLAUSES = {
    *re.findall(r"\*\*(\d+\.\d+)\b", PAGE),
    *re.findall(r"^## (\d+)\.", PAGE, re.MULTILINE),
}
CITATION = re.compile(r"[Cc]ontract (\d+(?:\.\d+)?)((?:(?:, | and )\d+(?:\.\d+)?)*)")


def citations() -> list[tuple[str, str]]:
    return [
        (str(path.relative_to(ROOT)), clause)
        for folder in ("app", "mock_receiver", "tests")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for first, more in CITATION.findall(path.read_text("utf-8"))
        for clause in (first, *re.findall(r"\d+(?:\.\d+)?", more))
    ]


def test_every_clause_that_is_cited_is_on_the_page() -> None:
    cited = citations()
    assert len(cited) > 50
    assert [(path, clause) for path, clause in cited if clause not in CLAUSES] == []


def test_clauses_are_numbered_without_gaps() -> None:
    for chapter in range(12):
        numbers = sorted(int(c.split(".")[1]) for c in CLAUSES if c.startswith(f"{chapter}."))
        assert numbers == list(range(1, len(numbers) + 1)), chapter


@pytest.mark.parametrize(
    "value",
    [
        test_receiving.VECTOR.decode().replace("\u2028", "<U+2028>"),
        test_receiving.VECTOR_CHECKSUM,
        test_signature.SECRET,
        test_signature.SIGNATURE,
        *SignatureFault,
    ],
)
def test_the_vectors_on_the_page_are_those_that_are_tested(value: str) -> None:
    assert value in PAGE


def test_figures_on_the_page_are_those_of_the_code() -> None:
    assert f"first {EXCERPT_BYTES // 1024} KiB" in PAGE
    assert PAGE.count(f"<= {TOLERANCE_S}") == 2
