"""Where settings come from, and that a mistake in one is never passed over."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.control.keys import digest_of, new_key
from app.domain.access import Caller, Scope
from app.domain.budget import ChunkLimits
from app.domain.delivery import RetryPolicy
from app.settings import DevSettings, Profile, Settings, Unit, load
from app.variables import SettingsInvalid, variable_of
from tests.support import generated

SECRET = "whsec_" + "QUJD" * 10
KEY = new_key()
DIGEST = digest_of(KEY)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder without a ``.env``."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def faults(profile: Profile = Profile.PRODUCTION, **explicit: Any) -> tuple[str, ...]:
    with pytest.raises(SettingsInvalid) as refusal:
        load(profile, **explicit)
    return refusal.value.faults


def test_without_any_setting_nothing_is_allowed() -> None:
    settings = load()

    assert (settings.host, settings.source_roots, settings.callback_allow) == ("127.0.0.1", (), ())


def test_the_environment_is_read_and_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_PORT", "9999")
    monkeypatch.setenv("INGEST_SOURCE_ROOTS", '["/srv/a", "/srv/b"]')
    monkeypatch.setenv("INGEST_LEASE_S", "7.5")
    settings = load()

    assert settings.port == 9999
    assert settings.source_roots == (Path("/srv/a"), Path("/srv/b"))
    assert settings.lease_s == 7.5


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_SOURCE_ROOTS", "")
    monkeypatch.setenv("INGEST_PORT", "")

    assert load() == Settings()


def test_an_unknown_name_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_SORCE_ROOTS", "[]")
    monkeypatch.setenv("OTHER_THING", "1")

    assert faults() == ("INGEST_SORCE_ROOTS: there is no such setting",)


def test_only_secrets_come_from_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_PORT_FILE", "/run/port")

    assert faults() == ("INGEST_PORT_FILE: there is no such setting",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "65536"),
        ("LEASE_S", "0"),
        ("LEASE_S", "nan"),
        ("BACKOFF_MAX_S", "inf"),
        ("CHUNK_RECORDS_DEFAULT", "-1"),
        ("LOG_LEVEL", "loud"),
        ("SOURCE_ROOTS", "/srv/a"),
        ("CALLBACK_ALLOW", '["http://a/b/c"]'),
        ("CALLBACK_ALLOW", '["a b"]'),
        ("SECRETS", '{"https://r.example": ["whsec_short"]}'),
        ("SECRETS", '{"https://r.example/path": []}'),
        ("SECRETS", '{"r.example": []}'),
        ("API_KEYS", '{"a": {"scope": "write", "sha256": ["DIGEST"]}}'),
        ("API_KEYS", '{"a": {"scope": "read", "sha256": []}}'),
        ("API_KEYS", '{"a": {"scope": "read", "sha256": "DIGEST"}}'),
        ("API_KEYS", '{"a": {"scope": "read", "sha256": ["c4n4ry"]}}'),
        ("API_KEYS", '{"a": {"scope": "read", "sha256": ["DIGEST"], "key": "c4n4ry"}}'),
        ("API_KEYS", '{"A b": {"scope": "read", "sha256": ["DIGEST"]}}'),
        ("API_KEYS", '{"ackline_c4n4ry-Key": {"scope": "read", "sha256": ["DIGEST"]}}'),
        ("API_KEYS", '{"a": {"scope": "read", "sha256": ["DIGEST", "DIGEST"]}}'),
        ("API_KEYS", '{"a": {"sha256": ["DIGEST"]}}'),
        ("API_KEYS", '["ackline_c4n4ry"]'),
        ("API_KEYS", "ackline_c4n4ry"),
        ("HOST", "0.0.0.0"),
        ("HOST", "::"),
        ("HOST", "c4n4ry.example"),
        ("HOST", "127.1"),
        ("HOST", "::ffff:127.0.0.1"),
    ],
)
def test_a_bad_value_is_named_and_never_repeated(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"INGEST_{name}", value.replace("DIGEST", DIGEST))
    (fault,) = faults()

    assert fault.startswith(f"INGEST_{name}")
    assert "c4n4ry" not in fault


def test_with_a_key_any_address_may_be_listened_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keys").write_text(
        json.dumps({"nightly": {"scope": "ingest", "sha256": [DIGEST]}}) + "\n"
    )
    monkeypatch.setenv("INGEST_API_KEYS_FILE", str(tmp_path / "keys"))
    settings = load(host="0.0.0.0")

    assert settings.keyring().caller(KEY) == Caller(name="nightly", scope=Scope.INGEST)
    assert settings.keyring().caller(DIGEST) is None
    assert DIGEST not in repr(settings.keyring())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_without_keys_a_loopback_address_is_taken(host: str) -> None:
    assert load(host=host).keyring().is_empty


def test_a_faulty_secret_does_not_appear_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "c4n4ry-c4n4ry-c4n4ry"
    for text in (f"{canary}", json.dumps({"https://r.example": [f"whsec_{canary}"]})):
        monkeypatch.setenv("INGEST_SECRETS", text)
        with pytest.raises(SettingsInvalid) as refusal:
            load()
        chain: BaseException | None = refusal.value
        while chain is not None:
            assert canary not in str(chain)
            chain = chain.__cause__


@pytest.mark.parametrize(
    "explicit",
    [
        {"backoff_initial_s": 61.0},
        {"probe_initial_s": 601.0},
        {"chunk_memory_default": 1 << 27},
        {"callback_headers": {"https://r.example": {"Content-Length": "1"}}},
        {"callback_headers": {"https://r.example": {"X": "a\r\nb"}}},
    ],
)
def test_settings_that_contradict_each_other_are_refused(explicit: dict[str, Any]) -> None:
    assert len(faults(**explicit)) == 1


def test_explicit_values_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_PORT", "9999")

    assert load(port=1).port == 1


# ---- secrets


def test_a_secret_comes_from_its_file(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = elsewhere / "secrets.json"
    path.write_text(json.dumps({"https://R.example": [SECRET]}) + "\n")
    monkeypatch.setenv("INGEST_SECRETS_FILE", str(path))
    (origin, sent) = next(iter(load().callback_origins().items()))

    assert (origin, list(sent.secrets)) == ("https://r.example:443", [b"ABC" * 10])


def test_a_secret_from_two_places_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_SECRETS", "{}")
    monkeypatch.setenv("INGEST_SECRETS_FILE", "/run/secrets.json")

    assert faults() == ("INGEST_SECRETS: it is set, and so is …_FILE",)


def test_a_missing_secret_file_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_CALLBACK_HEADERS_FILE", "/there/is/none")

    assert faults() == ("INGEST_CALLBACK_HEADERS_FILE: the file cannot be read",)


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_SECRETS", json.dumps({"https://r.example": [SECRET]}))
    monkeypatch.setenv(
        "INGEST_CALLBACK_HEADERS", '{"https://r.example": {"Authorization": "Bearer t0ken"}}'
    )
    settings = load()

    assert SECRET not in repr(settings)
    assert "t0ken" not in repr(settings)
    sent = settings.callback_origins()["https://r.example:443"]
    assert sent.headers == {"Authorization": "Bearer t0ken"}
    assert list(sent.secrets) == [b"ABC" * 10]


# ---- profiles and files


def test_the_development_profile_allows_this_machine_only() -> None:
    settings = load(Profile.DEV)

    assert settings.source_roots == (Path("samples"),)
    assert settings.callback_allow == ("127.0.0.1", "localhost")
    assert settings.host == "127.0.0.1"


def test_a_dotenv_is_read_in_development_only(elsewhere: Path) -> None:
    (elsewhere / ".env").write_text("INGEST_PORT=7000\nOTHER=1\n")

    assert load(Profile.DEV).port == 7000
    assert load().port == 8080
    assert load(env_file=elsewhere / ".env").port == 7000


def test_the_environment_goes_before_a_dotenv_and_that_before_the_profile(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / ".env").write_text("INGEST_PORT=7000\nINGEST_DATABASE_PATH=mine.db\n")
    monkeypatch.setenv("INGEST_PORT", "7001")
    settings = load(Profile.DEV)

    assert (settings.port, settings.database_path) == (7001, Path("mine.db"))


def test_an_unknown_name_in_a_dotenv_is_an_error(elsewhere: Path) -> None:
    (elsewhere / ".env").write_text("INGEST_PROT=7000\n")

    assert faults(Profile.DEV) == ("INGEST_PROT: there is no such setting",)


def test_a_named_file_that_is_missing_is_an_error(elsewhere: Path) -> None:
    assert "does not exist" in faults(env_file=elsewhere / "nothing")[0]


# ---- what is made from them


def test_the_policies_carry_the_settings() -> None:
    settings = Settings(
        attempts_max=2, backoff_initial_s=0.5, wait_max_s=9, chunk_records_default=7, rewinds_max=0
    )

    assert settings.retry_policy() == RetryPolicy(
        attempts_max=2, backoff_s_initial=0.5, wait_s_max=9, rewinds_max=0
    )
    assert settings.default_limits() == ChunkLimits(records=7, memory=4 << 20)
    assert settings.limits_ceiling() == ChunkLimits(records=1_000_000, memory=64 << 20)


def test_the_defaults_are_the_contracts() -> None:
    """Contract 7.3."""
    assert Settings().retry_policy() == RetryPolicy()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described_with_its_unit(name: str) -> None:
    field = Settings.model_fields[name]
    assert generated.descriptions()[name]
    units = [mark for mark in field.metadata if isinstance(mark, Unit)]
    numeric = field.annotation in (int, float) and name != "port"
    assert len(units) == int(numeric)
    if name.endswith("_s"):
        assert units == [Unit("s")]


def test_the_example_file_is_the_development_profile(elsewhere: Path) -> None:
    example = elsewhere / "example"
    example.write_text(generated.env_example())
    everything = elsewhere / "everything"
    lines = generated.env_example().splitlines()
    everything.write_text("\n".join(line.removeprefix("# ") for line in lines if "INGEST_" in line))

    development = load(Profile.DEV).model_dump()
    assert load(env_file=example).model_dump() == development
    assert load(env_file=everything).model_dump() == development


def test_the_generated_files_are_up_to_date() -> None:
    assert list(generated.stale()) == []


def test_the_table_names_every_setting() -> None:
    table = generated.table()
    assert all(f"`{variable_of(name)}`" in table for name in Settings.model_fields)
    assert DevSettings.model_fields.keys() == Settings.model_fields.keys()
