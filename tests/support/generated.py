"""Write what is made from `Settings`, or check that it is up to date.

python -m tests.support.generated [--check]
"""

import ast
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from app.settings import DevSettings, Settings, Unit
from app.variables import is_secret, variable_of

ROOT = Path(__file__).parents[2]
ENV_EXAMPLE = ROOT / ".env.example"
README = ROOT / "README.md"
START = "<!-- settings:start -->"
END = "<!-- settings:end -->"
HEAD = """\
# The development profile: what `ackline serve --profile dev` starts from.
# Copy it to .env to change something. A value behind a # is the default.
# Made from app/settings.py by: python -m tests.support.generated
"""


@cache
def descriptions() -> Mapping[str, str]:
    """Return the docstring below each setting.

    pydantic could keep them in the fields; to read its own source would cost the service a
    twentieth of its start.
    """
    (definition,) = ast.parse(inspect.getsource(Settings)).body
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, below in pairwise(definition.body):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = inspect.cleandoc(text)
            case _:
                continue
    return found


def env_example() -> str:
    """Return the development profile as an environment file."""
    parts = [HEAD]
    for name, field in Settings.model_fields.items():
        assignment = f"{variable_of(name)}={_text(_dev_value(name, field))}"
        if name not in DevSettings.profile_values:
            assignment = f"# {assignment}"
        parts.append(f"{_comment(name, field)}\n{assignment}\n")
    return "\n".join(parts)


def table() -> str:
    """Return every setting as a Markdown table."""
    rows = ["| variable | default | unit | what it is |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        variable = f"`{variable_of(name)}`"
        if is_secret(field):
            variable += f" `{variable_of(name)}_FILE`"
        what = descriptions()[name].replace("|", "\\|")
        rows.append(f"| {variable} | `{_text(field.default)}` | {_unit(field)} | {what} |")
    return "\n".join(rows)


def readme(text: str) -> str:
    """Return the README with the table of settings between its markers."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise SystemExit(f"README.md has no {START} … {END}")
    return f"{before}{START}\n{table()}\n{END}{after}"


def stale() -> Iterator[tuple[Path, str]]:
    """Yield each file that is not as it should be, and what it should hold."""
    wanted = {ENV_EXAMPLE: env_example()}
    if README.exists():
        wanted[README] = readme(README.read_text(encoding="utf-8"))
    for path, text in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            yield path, text


def _dev_value(name: str, field: FieldInfo) -> Any:
    values: Mapping[str, Any] = DevSettings.profile_values
    return values.get(name, field.default)


def _text(value: Any) -> str:
    match value:
        case StrEnum() | Path() | str():
            return str(value)
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return json.dumps(value, default=str)


def _unit(field: FieldInfo) -> str:
    return next((str(mark) for mark in field.metadata if isinstance(mark, Unit)), "")


def _comment(name: str, field: FieldInfo) -> str:
    unit = _unit(field)
    return f"# {descriptions()[name]}" + (f" [{unit}]" if unit else "")


def main() -> int:
    """Run the command."""
    check = sys.argv[1:] == ["--check"]
    found = list(stale())
    for path, text in found:
        if check:
            print(f"{path.name} is out of date: python -m tests.support.generated")
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.name}")
    return 1 if check and found else 0


if __name__ == "__main__":
    sys.exit(main())
