"""Every setting, with its unit, in one place. Read by ``bootstrap`` and ``main`` only.

A setting ``lease_s`` is the environment variable ``INGEST_LEASE_S``. Lists and objects are
JSON. The environment goes before a ``.env`` file, and that before the profile's values.
"""

import json
import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from dotenv import dotenv_values
from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app.control.submission import CHUNK_RECORDS_MAX
from app.domain.budget import ChunkLimits
from app.domain.delivery import RetryPolicy
from app.domain.errors import CallbackRefused
from app.receiver.egress import EgressPolicy, parse_callback
from app.receiver.http import OriginSettings
from app.wire.signature import read_secret

PREFIX = "INGEST_"
FILE_SUFFIX = "_FILE"
"""``INGEST_SECRETS_FILE`` names the file that holds what ``INGEST_SECRETS`` would."""

_MIB = 1024 * 1024


class SettingsInvalid(ValueError):
    """A setting is unknown, or its value cannot be used. Values are never repeated."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)
        """One sentence each, beginning with the variable's name."""


class Profile(StrEnum):
    """What the settings start from."""

    PRODUCTION = "production"
    """Nothing is allowed that is not named."""

    DEV = "dev"
    """The values of ``.env.example``; a ``.env`` in the working folder is read too."""


class Unit(str):
    """The unit of a setting, for the documents made from it."""

    __slots__ = ()


class Secret:
    """Marks a setting that may also come from the file named by ``…_FILE``."""


def _allow_list(entries: tuple[str, ...]) -> tuple[str, ...]:
    EgressPolicy(allow=entries)
    return entries


def _origin(text: str) -> str:
    try:
        callback = parse_callback(text)
    except CallbackRefused as error:
        raise ValueError(error.message) from error
    if callback.rest not in ("", "/"):
        raise ValueError("an origin is http(s)://host[:port], without a path")
    return callback.origin


def _signing_secret(secret: SecretStr) -> SecretStr:
    read_secret(secret.get_secret_value())
    return secret


Origin = Annotated[str, AfterValidator(_origin)]
Seconds = Annotated[float, Field(gt=0, le=7 * 24 * 3600, allow_inf_nan=False), Unit("s")]


class Settings(BaseSettings):
    """How the service runs. Make one with `load`."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, use_attribute_docstrings=True
    )

    profile_values: ClassVar[Mapping[str, Any]] = {}
    """What this profile sets apart from the defaults."""

    host: str = "127.0.0.1"
    """Address the API listens on. It has no authentication of its own: open it to other machines only behind something that has."""  # noqa: E501

    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    """Port the API listens on; 0 takes a free one."""

    database_path: Path = Path("data/ackline.db")
    """SQLite file that holds all progress. On a local disk; its folder is created."""

    source_roots: tuple[Path, ...] = ()
    """Folders that files may be read from. Without one, every file is refused."""

    callback_allow: Annotated[tuple[str, ...], AfterValidator(_allow_list)] = ()
    """Callbacks that may be called although they are not public: `host[:port]`, `address[:port]` or `network/bits[:port]`."""  # noqa: E501

    secrets: Annotated[
        dict[Origin, tuple[Annotated[SecretStr, AfterValidator(_signing_secret)], ...]], Secret()
    ] = {}
    """Signing secrets: callback origin to a list of `whsec_…`; two while one replaces the other."""

    callback_headers: Annotated[dict[Origin, dict[str, SecretStr]], Secret()] = {}
    """Headers sent with every callback: origin to an object such as `{"Authorization": "…"}`."""

    chunk_records_default: Annotated[int, Field(ge=0, le=CHUNK_RECORDS_MAX), Unit("records")] = 1000
    """Most records in a chunk where a request names no size; 0 for no such limit."""

    chunk_memory_default: Annotated[int, Field(ge=0), Unit("bytes")] = 4 * _MIB
    """Most bytes of a chunk's records where a request names no size; 0 for no such limit."""

    chunk_memory_max: Annotated[int, Field(ge=1024, le=1024 * _MIB), Unit("bytes")] = 64 * _MIB
    """Most bytes of a chunk's records that a request may ask for, and what every chunk is held to. A record above it cannot be delivered."""  # noqa: E501

    ingestions_running_max: Annotated[int, Field(ge=1, le=1000), Unit("ingestions")] = 8
    """Ingestions worked on at the same time. Each has a reader process; the others are QUEUED."""

    attempts_max: Annotated[int, Field(ge=1, le=1000), Unit("sends")] = 5
    """Sends of one chunk before the ingestion is WAITING for its receiver."""

    backoff_initial_s: Seconds = 1.0
    """Longest pause after the first send that failed; it doubles from one to the next."""

    backoff_max_s: Seconds = 60.0
    """Longest pause between two sends of a chunk."""

    probe_initial_s: Seconds = 60.0
    """First pause between two probes of a receiver that is down."""

    probe_max_s: Seconds = 600.0
    """Longest pause between two probes."""

    wait_max_s: Seconds = 86_400.0
    """How long a receiver may be down before its ingestion is FAILED, resumable."""

    rewinds_max: Annotated[int, Field(ge=0, le=1000), Unit("rewinds")] = 3
    """Times a receiver may go back without progress before a person is asked."""

    exchange_timeout_s: Seconds = 60.0
    """Time for a whole exchange with a receiver, from the name look-up to the answer's last byte."""  # noqa: E501

    reader_memory_max_bytes: Annotated[int, Field(ge=256 * _MIB), Unit("bytes")] = 2048 * _MIB
    """Address space of each reader process. A hostile file runs into it, not into the machine."""

    reader_stall_s: Seconds = 120.0
    """A reader that gave no chunk for so long, though it could, is taken for dead."""

    lease_s: Seconds = 15.0
    """A worker that was not heard of for so long loses its ingestions to another."""

    drain_s: Seconds = 20.0
    """After SIGTERM, time to settle the chunks in flight. Keep it 10 s below your supervisor's."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe event that is logged."""

    log_format: Literal["json", "console"] = "json"
    """One JSON object a line, or lines for a person."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Replace the stock sources: they pass over names that are misspelt."""
        env_file = getattr(dotenv_settings, "env_file", None)
        return (
            init_settings,
            _Variables(settings_cls, os.environ),
            _Variables(settings_cls, _read_env_file(env_file)),
            InitSettingsSource(settings_cls, dict(cls.profile_values)),
        )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        pairs = (
            ("backoff_initial_s", "backoff_max_s"),
            ("probe_initial_s", "probe_max_s"),
            ("chunk_memory_default", "chunk_memory_max"),
        )
        for low, high in pairs:
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{variable_of(low)} is above {variable_of(high)}")
        self.callback_origins()
        return self

    def retry_policy(self) -> RetryPolicy:
        """Return when to send again."""
        return RetryPolicy(
            attempts_max=self.attempts_max,
            backoff_s_initial=self.backoff_initial_s,
            backoff_s_max=self.backoff_max_s,
            probe_s_initial=self.probe_initial_s,
            probe_s_max=self.probe_max_s,
            wait_s_max=self.wait_max_s,
            rewinds_max=self.rewinds_max,
        )

    def default_limits(self) -> ChunkLimits:
        """Return the chunk size where a request names none."""
        return ChunkLimits(records=self.chunk_records_default, memory=self.chunk_memory_default)

    def limits_ceiling(self) -> ChunkLimits:
        """Return the most that a request may ask for."""
        return ChunkLimits(records=CHUNK_RECORDS_MAX, memory=self.chunk_memory_max)

    def callback_origins(self) -> Mapping[str, OriginSettings]:
        """Return what is sent along to the receivers of each origin."""
        return {
            origin: OriginSettings(
                secrets=[
                    read_secret(secret.get_secret_value())
                    for secret in self.secrets.get(origin, ())
                ],
                headers={
                    name: value.get_secret_value()
                    for name, value in self.callback_headers.get(origin, {}).items()
                },
            )
            for origin in {*self.secrets, *self.callback_headers}
        }


class DevSettings(Settings):
    """The development profile: a receiver and samples on this machine are allowed."""

    profile_values: ClassVar[Mapping[str, Any]] = {
        "database_path": "ackline-dev.db",
        "source_roots": ["samples"],
        "callback_allow": ["127.0.0.1", "localhost"],
        "log_format": "console",
    }


def load(
    profile: Profile = Profile.PRODUCTION,
    *,
    env_file: Path | None = None,
    **explicit: Any,  # noqa: ANN401 - the model checks them
) -> Settings:
    """Return the settings that are in force.

    Parameters
    ----------
    env_file
        A ``.env`` file to read. Without it only the development profile reads one.
    explicit
        Settings by name that go before everything else, such as command line options.

    Raises
    ------
    SettingsInvalid
        A name is unknown or a value cannot be used.
    """
    settings_cls = DevSettings if profile is Profile.DEV else Settings
    try:
        if env_file is not None and not env_file.is_file():
            raise SettingsInvalid([f"the file {env_file} does not exist"])
        if env_file is None and profile is Profile.DEV:
            env_file = Path(".env")
        return settings_cls(_env_file=env_file, **explicit)
    except ValidationError as error:
        raise SettingsInvalid(
            [
                _fault(fault["loc"], fault["msg"])
                for fault in error.errors(include_url=False, include_input=False)
            ]
        ) from error


def variable_of(setting: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + setting.upper()


def is_secret(field: FieldInfo) -> bool:
    """Tell whether a setting may come from a file, and is never shown."""
    return any(isinstance(mark, Secret) for mark in field.metadata)


class _Variables(PydanticBaseSettingsSource):
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


def _parsed(name: str, text: str) -> object:
    try:
        parsed: object = json.loads(text)
    except ValueError:
        # The text may be a secret, and the parser's error holds it.
        raise SettingsInvalid([f"{variable_of(name)}: the value is not JSON"]) from None
    return parsed


def _read_env_file(path: Path | None) -> Mapping[str, str]:
    if path is None or not path.is_file():
        return {}
    return {k: v or "" for k, v in dotenv_values(path, interpolate=False).items()}


def _fault(steps: Sequence[object], message: str) -> str:
    text = message.removeprefix("Value error, ")
    if not steps:
        return text
    rest = "".join(f"[{step!r}]" for step in steps[1:])
    return f"{variable_of(str(steps[0]))}{rest}: {text}"
