"""Every setting, with its unit, in one place. Read by ``bootstrap`` and ``main`` only.

A setting ``lease_s`` is the environment variable ``INGEST_LEASE_S``. Lists and objects are
JSON. The environment goes before a ``.env`` file, and that before the profile's values.
"""

import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from app.control.admission import AdmissionPolicy
from app.control.keys import KEY_PREFIX, KeyEntry, Keyring, is_digest
from app.control.submission import CHUNK_RECORDS_MAX
from app.domain.access import Caller, LiveLimits, Scope, is_loopback
from app.domain.budget import ChunkLimits
from app.domain.delivery import RetryPolicy
from app.domain.errors import CallbackRefused
from app.receiver.egress import EgressPolicy, parse_callback
from app.receiver.http import OriginSettings
from app.variables import Secret, SettingsInvalid, Variables, read_env_file, variable_of
from app.wire.signature import read_secret

_MIB = 1024 * 1024


class Profile(StrEnum):
    """What the settings start from."""

    PRODUCTION = "production"
    """Nothing is allowed that is not named."""

    DEV = "dev"
    """The values of ``.env.example``; a ``.env`` in the working folder is read too."""


class Unit(str):
    """The unit of a setting, for the documents made from it."""

    __slots__ = ()


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


def _key_digest(text: str) -> str:
    if not is_digest(text):
        # Whoever put the key itself here must not read it again in the message.
        raise ValueError("this is no SHA-256 of a key, 64 lower-case hex digits: see ackline key")
    return text


def _not_empty(digests: tuple[str, ...]) -> tuple[str, ...]:
    if not digests:
        raise ValueError("without a digest there is no key")
    return digests


class ApiKey(BaseModel):
    """What `ackline key` prints for the setting. The key itself is nowhere in it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    scope: Scope
    sha256: Annotated[
        tuple[Annotated[str, AfterValidator(_key_digest)], ...], AfterValidator(_not_empty)
    ]
    """Several while one key replaces another."""


CallerName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
ApiKeys: TypeAlias = dict[CallerName, ApiKey]
Origin = Annotated[str, AfterValidator(_origin)]
Seconds = Annotated[float, Field(gt=0, le=7 * 24 * 3600, allow_inf_nan=False), Unit("s")]


class Settings(BaseSettings):
    """How the service runs. Make one with `load`."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        defer_build=True,  # of the profiles, only the one that is used
    )

    profile_values: ClassVar[Mapping[str, Any]] = {}
    """What this profile sets apart from the defaults."""

    host: str = "127.0.0.1"
    """Address the API listens on. Without API keys only a loopback one is taken."""

    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    """Port the API listens on; 0 takes a free one."""

    api_keys: Annotated[ApiKeys, Secret()] = {}
    """Who may ask: a name of your choice to `{"scope": "read" or "ingest" or "admin", "sha256": […]}`, as `ackline key` prints it."""  # noqa: E501

    submissions_per_minute_max: Annotated[int, Field(ge=1), Unit("submissions")] = 600
    """Submissions a minute under one name of an API key."""

    live_per_key_max: Annotated[int, Field(ge=1), Unit("ingestions")] = 2000
    """Ingestions that have not ended, of those submitted under one name of an API key."""

    live_per_origin_max: Annotated[int, Field(ge=1), Unit("ingestions")] = 5000
    """Ingestions that have not ended, of those that call one `scheme://host:port`."""

    disk_free_bytes_min: Annotated[int, Field(ge=0), Unit("bytes")] = 16 * _MIB
    """With less free space for the database no ingestion is begun, and the service is not ready."""

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
    """Ingestions worked on at the same time. Each has a reader process; the others are QUEUED. Those WAITING for their receiver do not count."""  # noqa: E501

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

    dead_letters_max: Annotated[int, Field(ge=0, le=1_000_000), Unit("records")] = 10_000
    """Records that its receiver may refuse before an ingestion is PAUSED. Each is kept with its bytes."""  # noqa: E501

    dead_letters_bytes_max: Annotated[int, Field(ge=0, le=2**40), Unit("bytes")] = 256 * 1024 * 1024
    """Bytes that these records may have, likewise. They stay in the database."""

    exchange_timeout_s: Seconds = 60.0
    """Time for a whole exchange with a receiver, from the name look-up to the answer's last byte."""  # noqa: E501

    reader_processes_max: Annotated[int, Field(ge=0, le=1000), Unit("processes")] = 0
    """Reader processes alive at the same time; 0 for four per CPU, at least 16. Ingestions that wait for their receivers share them."""  # noqa: E501

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
            Variables(settings_cls, os.environ),
            Variables(settings_cls, read_env_file(env_file)),
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
        digests = [digest for key in self.api_keys.values() for digest in key.sha256]
        if len(set(digests)) < len(digests):
            raise ValueError(f"{variable_of('api_keys')}: one key stands there twice")
        if not self.api_keys and not is_loopback(self.host):
            raise ValueError(
                f"{variable_of('host')}: without API keys the service only listens on a loopback "
                f"address such as 127.0.0.1; ackline key makes one for {variable_of('api_keys')}"
            )
        return self

    def keyring(self) -> Keyring:
        """Return the API keys that are in force."""
        return Keyring(
            KeyEntry(caller=Caller(name=name, scope=key.scope), digests=key.sha256)
            for name, key in self.api_keys.items()
        )

    def admission_policy(self) -> AdmissionPolicy:
        """Return how many submissions are taken."""
        return AdmissionPolicy(
            live=LiveLimits(per_caller=self.live_per_key_max, per_origin=self.live_per_origin_max),
            per_minute=self.submissions_per_minute_max,
            disk_free_bytes_min=self.disk_free_bytes_min,
        )

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
            rejected_max=self.dead_letters_max,
            rejected_bytes_max=self.dead_letters_bytes_max,
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


def _fault(steps: Sequence[object], message: str) -> str:
    text = message.removeprefix("Value error, ")
    if not steps:
        return text
    # A key that was put where a name belongs must not be read again in the message.
    shown = ("…" if str(step).startswith(KEY_PREFIX) else step for step in steps[1:])
    rest = "".join(f"[{step!r}]" for step in shown)
    return f"{variable_of(str(steps[0]))}{rest}: {text}"
