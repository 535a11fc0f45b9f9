"""The list of seeded defects is alive: each of them still fits the source."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants.__main__ import summary
from tests.mutants.defects import DEFECTS, LISTED_MAX
from tests.mutants.planting import ROOT, Defect, Edit, NoPlace, places, planted
from tests.mutants.trial import GREEN, RED, Trial
from tests.mutants.witness import pytest_configure

DEFECT = Defect(1, "a wrong sum", [Edit("sums.py", "a + b", "a - b")], ["test_sums.py"])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "sums.py").write_text("def add(a, b):\n    return a + b\n")
    return tmp_path


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: f"{defect.number} {defect.name}")
def test_every_defect_fits_the_source(defect: Defect) -> None:
    assert planted(ROOT, defect)


@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: f"{defect.number} {defect.name}")
def test_every_test_that_should_catch_one_exists(defect: Defect) -> None:
    assert defect.tests
    for test in defect.tests:
        path, *names = test.partition("[")[0].split("::")
        scope: ast.Module | ast.ClassDef = ast.parse((ROOT / path).read_text("utf-8"))
        for name in names:
            [found] = [node for node in scope.body if getattr(node, "name", "") == name]
            assert isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if isinstance(found, ast.ClassDef):
                scope = found


def test_every_number_of_the_list_is_planted() -> None:
    listed = {defect.number for defect in DEFECTS if defect.number <= LISTED_MAX}
    assert listed == set(range(1, LISTED_MAX + 1))


def test_no_two_are_called_the_same() -> None:
    assert len({(defect.number, defect.name) for defect in DEFECTS}) == len(DEFECTS)


def test_a_defect_is_an_edit_of_what_is_there(root: Path) -> None:
    assert planted(root, DEFECT) == {root / "sums.py": "def add(a, b):\n    return a - b\n"}


@pytest.mark.parametrize(
    "edits",
    [
        pytest.param([Edit("sums.py", "a * b", "a - b")], id="not there"),
        pytest.param([Edit("sums.py", "a", "b")], id="there more than once"),
        pytest.param([Edit("sums.py", "a + b", "a + b")], id="no change"),
        pytest.param([Edit("sums.py", "a + b", "a +")], id="no Python"),
        pytest.param([Edit("sums.py", "a + b", "b"), Edit("sums.py", "+ b", "")], id="overlap"),
        pytest.param([Edit("products.py", "a * b", "a")], id="no such file"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused(root: Path, edits: list[Edit]) -> None:
    with pytest.raises(NoPlace):
        planted(root, replace(DEFECT, edits=edits))
    assert (root / "sums.py").read_text() == "def add(a, b):\n    return a + b\n"


def test_it_is_told_where_what_was_planted(root: Path) -> None:
    assert list(places(root, DEFECT)) == ["sums.py:2: a + b → a - b"]


@pytest.mark.parametrize(
    ("status", "failed", "is_red"),
    [
        (RED, ["test_sums.py::test_add"], True),
        (GREEN, [], False),
        (2, ["test_sums.py"], False),  # could not be collected
        (4, [], False),  # no such test
        (5, [], False),  # nothing was tested
        (-9, ["test_sums.py::test_add"], False),
    ],
)
def test_only_a_test_that_ran_and_failed_is_red(
    status: int, failed: list[str], is_red: bool
) -> None:
    assert Trial(status=status, failed=failed, seconds=1.0, output="").is_red is is_red


def test_another_checkout_is_not_tested_instead(
    pytestconfig: pytest.Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    pytest_configure(pytestconfig)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pytest.UsageError):
        pytest_configure(pytestconfig)


def test_a_missed_form_is_a_missed_defect() -> None:
    another = replace(DEFECT, name="another wrong sum")
    two, further = replace(DEFECT, number=2), replace(DEFECT, number=LISTED_MAX + 1)
    defects = [DEFECT, another, two, further]
    assert summary(defects, [another]) == "1 of 2 caught; of further ones 1 of 1 caught"
