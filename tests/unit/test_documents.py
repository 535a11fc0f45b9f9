"""What the documents say is there is there."""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from app.api.problems import as_table
from app.cli import command_line
from app.domain.errors import DecodeCode, SourceCode
from app.domain.ingestion import DecodeOptions
from app.settings import Settings
from app.variables import FILE_SUFFIX, PREFIX, is_secret, variable_of

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
FOLDERS = r"(?:app|mock_receiver|tests|benchmarks|docs|docker|\.ci)/"

CODE = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(FOLDERS + r"[\w./-]*")
TEST = re.compile(r"test_\w+")
NAME = re.compile(r"(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w+)(\(\))?")
VARIABLE = re.compile(PREFIX + r"[A-Z_]+\b")
COMMAND = re.compile(r"(?:`|'|bin/)ackline ([a-z]+(?:-[a-z]+)*)((?:\\\n|[^\n`|])*)")
OPTION = re.compile(r"(?<!\S)--[a-z-]+")
TARGET = re.compile(r"(?:`|^ *)make ([a-z]+)", re.MULTILINE)
CITED_INVARIANT = re.compile(r"[Ii]nvariants? (\d+)")
CITED_RECORD = re.compile(r"\bADR (\d+)")

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: str(d.relative_to(ROOT)))
INVARIANTS = (ROOT / "docs" / "invariants.md").read_text("utf-8")


def code_files() -> Iterator[tuple[Path, str]]:
    for folder in ("app", "mock_receiver", "tests", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".py", ".sql"}:
                yield path, path.read_text("utf-8")


def spans(text: str) -> list[str]:
    """Return what stands between backticks, outside of fenced blocks."""
    return CODE.findall(FENCE.sub("", text))


def options_of_commands() -> dict[str, set[str]]:
    group = typer.main.get_command(command_line())
    assert isinstance(group, TyperGroup)
    return {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in [("", group), *group.commands.items()]
    }


def missing_in(block: str) -> Iterator[str]:
    """Yield the names in a list item that the file named before them does not hold."""
    file: Path | None = None
    for span in CODE.findall(block):
        if PATH.fullmatch(span):
            file = ROOT / span
        elif file is not None and file.suffix == ".py" and (name := NAME.fullmatch(span)):
            text = file.read_text("utf-8")
            defined = rf"(?:def|class) {name[1]}\b" if name[2] else rf"\b{name[1]}\b"
            if TEST.fullmatch(span):
                defined = rf"def {span}\("
            if not re.search(defined, text):
                yield f"{file.relative_to(ROOT)}: {span}"


@documents
def test_every_path_that_is_named_exists(document: Path) -> None:
    named = [span for span in spans(document.read_text("utf-8")) if PATH.fullmatch(span)]
    assert [path for path in named if not (ROOT / path).exists()] == []


@documents
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    links = [link for link in LINK.findall(document.read_text("utf-8")) if ":" not in link]
    targets = [(document.parent / link.partition("#")[0]) for link in links]
    assert [str(target) for target in targets if not target.exists()] == []


@documents
def test_every_test_that_is_named_exists(document: Path) -> None:
    named = {span for span in spans(document.read_text("utf-8")) if TEST.fullmatch(span)}
    tests = "\n".join(text for path, text in code_files() if path.name.startswith("test_"))
    assert [name for name in sorted(named) if f"def {name}(" not in tests] == []


@documents
def test_every_setting_that_is_named_exists(document: Path) -> None:
    known = {variable_of(name) for name in Settings.model_fields}
    known |= {
        variable_of(name) + FILE_SUFFIX
        for name, field in Settings.model_fields.items()
        if is_secret(field)
    }
    assert set(VARIABLE.findall(document.read_text("utf-8"))) - known == set()


@documents
def test_every_command_and_its_options_exist(document: Path) -> None:
    known = options_of_commands()
    text = document.read_text("utf-8")
    alone = {option for span in spans(text) for option in OPTION.findall(span)[:1]}
    assert alone - set().union(*known.values()) == set()
    for name, arguments in COMMAND.findall(text):
        assert name in known, name
        assert set(OPTION.findall(arguments)) - known[name] == set(), name


@documents
def test_every_make_target_exists(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(TARGET.findall(document.read_text("utf-8")))
    assert [target for target in targets if f"\n{target}: " not in makefile] == []


@documents
def test_every_decode_option_that_is_named_exists(document: Path) -> None:
    named = set(re.findall(r"\boptions\.([a-z_]+)", document.read_text("utf-8")))
    assert named - {field.name for field in fields(DecodeOptions)} == set()


@documents
def test_a_document_speaks_of_the_project_alone(document: Path) -> None:
    assert re.findall(r"(?<![\w.])/(?:work|root|home|tmp)/", document.read_text("utf-8")) == []


def test_the_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert [name for name in options_of_commands() if f"`ackline {name}" not in readme] == []


# ---- architecture


def test_every_room_is_on_the_map() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rooms = [
        f"app/{path.name}" + ("/" if path.is_dir() else "")
        for path in sorted((ROOT / "app").iterdir())
        if not path.name.startswith("__")
    ]
    assert rooms
    assert [room for room in rooms if f"| `{room}` |" not in text] == []


def test_the_map_is_in_the_order_of_the_import_contract() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| `app/(\w+)(?:/|\.py)` \|", text, re.MULTILINE)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    layers = next(c["layers"] for c in contracts["contracts"] if c["type"] == "layers")
    level = {
        room: depth for depth, layer in enumerate(layers) for room in re.findall(r"\w+", layer)
    }
    on_the_map = list(dict.fromkeys(rows))
    assert on_the_map == sorted(on_the_map, key=level.__getitem__)


# ---- invariants


def test_every_invariant_that_is_cited_is_in_the_document() -> None:
    numbers = re.findall(r"^## (\d+)\. ", INVARIANTS, re.MULTILINE)
    assert numbers == [str(number) for number in range(1, 11)]
    cited = [
        (path, number) for path, text in code_files() for number in CITED_INVARIANT.findall(text)
    ]
    assert len(cited) > 20
    assert [(str(path), number) for path, number in cited if number not in numbers] == []


@pytest.mark.parametrize("chapter", re.split(r"^## ", INVARIANTS, flags=re.MULTILINE)[1:])
def test_an_invariant_names_what_enforces_it_and_what_attacks_it(chapter: str) -> None:
    enforced, _, attacked = chapter.partition("Attacked by")
    for named, folder in ((enforced, "app/"), (attacked, "tests/")):
        items = [line for line in named.splitlines() if line.startswith(f"- `{folder}")]
        assert items
        assert [name for item in items for name in missing_in(item)] == []


# ---- decision records, codes


def test_every_decision_record_is_in_the_index_and_every_cited_one_exists() -> None:
    records = {int(path.name[:4]): path.name for path in (ROOT / "docs" / "adr").glob("[0-9]*.md")}
    assert sorted(records) == list(range(1, len(records) + 1))
    index = (ROOT / "docs" / "adr" / "README.md").read_text("utf-8")
    assert [name for number, name in records.items() if f"[{number}]({name})" not in index] == []
    cited = {int(number) for _, text in code_files() for number in CITED_RECORD.findall(text)}
    assert cited - set(records) == set()


@pytest.mark.parametrize("record", sorted((ROOT / "docs" / "adr").glob("[0-9]*.md")), ids=str)
def test_a_decision_record_has_its_parts(record: Path) -> None:
    text = record.read_text("utf-8")
    assert text.startswith(f"# {int(record.name[:4])}. ")
    assert re.search(r"^Date: \d{4}-\d\d-\d\d\. Status: \w+", text, re.MULTILINE)
    assert {"Question", "Decision", "Consequences"} <= set(
        re.findall(r"^## (\w+)$", text, re.MULTILINE)
    )


def test_every_code_is_explained() -> None:
    page = (ROOT / "docs" / "problems.md").read_text("utf-8")
    assert as_table() in page
    assert [code for code in (*SourceCode, *DecodeCode) if f"`{code}`" not in page] == []


# ---- the checks themselves


def test_a_name_that_is_not_in_its_file_is_found() -> None:
    item = "- `app/ports.py`: `Reader`, `Reader.read()`, `Writer`, `test_nothing()`"
    assert list(missing_in(item)) == ["app/ports.py: Writer", "app/ports.py: test_nothing()"]
