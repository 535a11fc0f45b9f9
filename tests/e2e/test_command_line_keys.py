"""Making a key, asking with it, and what a terminal is spared."""

import json
import shlex
from pathlib import Path

import pytest

from tests.e2e.test_command_line import REFUSED, USAGE, run
from tests.support.processes import Receiver, Service


def made(*arguments: str) -> dict[str, str]:
    """Make a key; return the variables that were printed, as a shell reads them."""
    done = run("key", *arguments)
    assert done.returncode == 0, done.stderr
    return dict(shlex.split(line)[0].split("=", 1) for line in done.stdout.splitlines())


def test_a_key_is_made_let_in_replaced_and_shut_out(tmp_path: Path, receiver: Receiver) -> None:
    old, new, viewer = made("nightly"), made("nightly"), made("viewer", "--scope", "read")
    settings = {
        name: json.loads(one["INGEST_API_KEYS"]) for name, one in (("old", old), ("new", new))
    }
    both = settings["old"]["nightly"]["sha256"] + settings["new"]["nightly"]["sha256"]
    file = tmp_path / "keys.json"
    file.write_text(
        json.dumps(
            {"nightly": {"scope": "ingest", "sha256": both}} | json.loads(viewer["INGEST_API_KEYS"])
        )
    )
    (tmp_path / "a.json").write_text('[{"a":1}]')
    submit = ("ingest", str(tmp_path / "a.json"), "--callback", receiver.url)

    with Service(tmp_path, receiver.address, INGEST_API_KEYS_FILE=str(file)) as service:

        def ask(*arguments: str, key: str = "") -> tuple[int, str]:
            done = run(*arguments, url=service.url, ACKLINE_API_KEY=key)
            return done.returncode, done.stderr

        status, said = ask("ls")
        assert (status, "UNAUTHENTICATED" in said, "ackline key" in said) == (REFUSED, True, True)
        for variables in (old, new, viewer):
            assert ask("ls", key=variables["ACKLINE_API_KEY"])[0] == 0
        assert "SCOPE_INSUFFICIENT" in ask(*submit, key=viewer["ACKLINE_API_KEY"])[1]
        assert ask(*submit, "--follow", key=old["ACKLINE_API_KEY"])[0] == 0
        assert ask("ls", "--api-key", new["ACKLINE_API_KEY"])[0] == 0
        assert ask("ls", key="ackline_\u00e9")[0] == USAGE
        assert service.get("/healthz").status_code == 200

        assert service.terminate() == 0
        file.write_text(new["INGEST_API_KEYS"])
        service.start()
        assert ask("ls", key=old["ACKLINE_API_KEY"])[0] == REFUSED
        assert ask("ls", key=new["ACKLINE_API_KEY"])[0] == 0
        assert service.troubles() == []


def test_a_key_for_programs() -> None:
    printed = json.loads(run("key", "x", "--scope", "admin", "--json").stdout)

    assert printed["key"].startswith("ackline_")
    assert printed["INGEST_API_KEYS"]["x"]["scope"] == "admin"


@pytest.mark.parametrize("name", ["", "Nightly", "a b", "-x", "x" * 64, "é"])
def test_a_name_that_no_setting_takes_makes_no_key(name: str) -> None:
    done = run("key", "--", name)
    assert (done.returncode, done.stdout) == (USAGE, "")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_without_keys_other_machines_are_not_listened_to(host: str) -> None:
    done = run("serve", "--port", "0", "--host", host)

    assert (done.returncode, done.stdout) == (USAGE, "")
    assert "INGEST_HOST: without API keys" in done.stderr
    assert "ackline key" in done.stderr


def test_a_file_name_cannot_write_on_the_terminal(tmp_path: Path, receiver: Receiver) -> None:
    file = tmp_path / "a\x1b[2J\x1b]0;owned\x07\x9b31m.json"
    file.write_text('[{"a":')
    with Service(tmp_path, receiver.address) as service:
        asked = ("ingest", str(file), "--callback", receiver.url, "--follow")
        followed = run(*asked, url=service.url)
        listed = run("ls", url=service.url)
        ingestion = service.get("/api/ingestions").json()
        shown = run("status", ingestion["ingestions"][0]["ingestion_id"], url=service.url)
        refused = run(
            "ingest",
            str(file) + "x\x1b[2J",
            "--type",
            "json",
            "--callback",
            receiver.url,
            url=service.url,
        )

    for done in (followed, listed, shown, refused):
        assert not {"\x1b", "\x07", "\x9b"} & set(done.stdout + done.stderr)
    assert r"a\x1b[2J" in "".join(shown.stdout.split())
    assert refused.returncode == REFUSED
