"""Settings out of environment variables, where an unknown name is an error."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

PREFIX = "INGEST_"
FILE_SUFFIX = "_FILE"
"""``INGEST_SECRETS_FILE`` names the file that holds what ``INGEST_SECRETS`` would."""


class SettingsInvalid(ValueError):
    """A setting is unknown, or its value cannot be used. Values are never repeated."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)
        """One sentence each, beginning with the variable's name."""


class Secret:
    """Marks a setting that may also come from the file named by ``…_FILE``."""


class Variables(PydanticBaseSettingsSource):
    """Settings from variables, where an unknown name is an error."""

    def __init__(self, settings_cls: type[BaseSettings], variables: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self._variables = variables

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        text = self._text(field, field_name)
        return text, field_name, self.field_is_complex(field)

    def __call__(self) -> dict[str, Any]:
        """Return what is set; a variable that is empty is not."""
        fields = self.settings_cls.model_fields
        known = {variable_of(name) for name in fields}
        known |= {variable_of(name) + FILE_SUFFIX for name in fields if is_secret(fields[name])}
        unknown = sorted(
            name for name in self._variables if name.startswith(PREFIX) and name not in known
        )
        if unknown:
            raise SettingsInvalid([f"{name}: there is no such setting" for name in unknown])
        values: dict[str, Any] = {}
        for name, field in fields.items():
            text, _, is_json = self.get_field_value(field, name)
            if text:
                values[name] = _parsed(name, text) if is_json else text
        return values

    def _text(self, field: FieldInfo, name: str) -> str:
        text = self._variables.get(variable_of(name), "")
        path = self._variables.get(variable_of(name) + FILE_SUFFIX, "") if is_secret(field) else ""
        if not path:
            return text
        if text:
            raise SettingsInvalid([f"{variable_of(name)}: it is set, and so is …{FILE_SUFFIX}"])
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsInvalid(
                [f"{variable_of(name)}{FILE_SUFFIX}: the file cannot be read"]
            ) from error


def variable_of(setting: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + setting.upper()


def is_secret(field: FieldInfo) -> bool:
    """Tell whether a setting may come from a file, and is never shown."""
    return any(isinstance(mark, Secret) for mark in field.metadata)


def _parsed(name: str, text: str) -> object:
    try:
        parsed: object = json.loads(text)
    except ValueError:
        # The text may be a secret, and the parser's error holds it.
        raise SettingsInvalid([f"{variable_of(name)}: the value is not JSON"]) from None
    return parsed


def read_env_file(path: Path | None) -> Mapping[str, str]:
    """Return the variables in a ``.env`` file; none when there is no such file."""
    if path is None or not path.is_file():
        return {}
    return {k: v or "" for k, v in dotenv_values(path, interpolate=False).items()}
