"""The layout rules that import-linter cannot see."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BOUNDED = ("app", "mock_receiver", "benchmarks", "tests")
FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
BANNED = frozenset(
    {"util", "utils", "helper", "helpers", "common", "misc", "base", "core"}
    | {"manager", "processor", "handler", "data", "info", "item", "obj", "tmp"}
)


def sources(*folders: str) -> list[Path]:
    return sorted(
        path.relative_to(ROOT) for folder in folders for path in (ROOT / folder).rglob("*.py")
    )


def too_long_functions(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{node.name} has {lines} lines, from line {node.lineno}"


@pytest.mark.parametrize("folder", ["app", "mock_receiver", "tests"])
def test_there_is_something_to_look_at(folder: str) -> None:
    assert sources(folder)


@pytest.mark.parametrize("path", sources(*BOUNDED), ids=str)
def test_a_file_fits_in_the_head(path: Path) -> None:
    assert len((ROOT / path).read_text().splitlines()) <= FILE_LINES_MAX


@pytest.mark.parametrize("path", sources(*BOUNDED), ids=str)
def test_a_function_fits_on_a_screen(path: Path) -> None:
    assert list(too_long_functions((ROOT / path).read_text())) == []


@pytest.mark.parametrize("path", sources(*BOUNDED), ids=str)
def test_a_name_says_what_is_inside(path: Path) -> None:
    words = {word for part in path.with_suffix("").parts for word in part.split("_")}
    assert words.isdisjoint(BANNED)


@pytest.mark.parametrize("folder", sorted({path.parent for path in sources("app")}), ids=str)
def test_a_package_introduces_itself_in_a_line_and_at_most_a_paragraph(folder: Path) -> None:
    docstring = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text()))
    assert docstring, "no docstring"
    assert docstring.count("\n\n") <= 1


def test_a_function_of_71_lines_is_found() -> None:
    long, short = "def long():\n" + "    x\n" * 70, "def short():\n" + "    x\n" * 69
    assert list(too_long_functions(long + short)) == ["long has 71 lines, from line 1"]


@pytest.mark.parametrize("path", sources("app", "mock_receiver"), ids=str)
def test_no_pattern_has_a_possessive_group(path: Path) -> None:
    """Python 3.11.0 to 3.11.4 match them wrongly: https://github.com/python/cpython/issues/106052"""
    assert not re.search(r"\)[*+?]\+", (ROOT / path).read_text())
