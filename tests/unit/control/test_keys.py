"""Keys are random, and what is kept of one cannot be asked with."""

import pytest

from app.control.keys import KEY_PREFIX, KeyEntry, Keyring, digest_of, is_digest, new_key
from app.domain.access import ANONYMOUS, Caller, Scope

NIGHTLY = Caller(name="nightly", scope=Scope.INGEST)
VIEWER = Caller(name="viewer", scope=Scope.READ)


def test_no_two_keys_are_alike_and_each_can_be_told_to_be_one() -> None:
    keys = {new_key() for _ in range(100)}

    assert len(keys) == 100
    assert all(key.startswith(KEY_PREFIX) and len(key) == len(KEY_PREFIX) + 43 for key in keys)
    assert all(is_digest(digest_of(key)) for key in keys)


def test_old_and_new_key_stand_for_one_caller_while_one_replaces_the_other() -> None:
    old, new, other = new_key(), new_key(), new_key()
    ring = Keyring(
        [
            KeyEntry(caller=NIGHTLY, digests=(digest_of(old), digest_of(new))),
            KeyEntry(caller=VIEWER, digests=(digest_of(other),)),
        ]
    )

    assert ring.caller(old) is ring.caller(new) is NIGHTLY
    assert ring.caller(other) is VIEWER


def test_nothing_but_the_key_itself_is_taken_for_it() -> None:
    key = new_key()
    ring = Keyring([KeyEntry(caller=NIGHTLY, digests=(digest_of(key),))])

    for wrong in (None, "", digest_of(key), key[:-1], key + "A", key.upper(), f" {key}", "\ud800"):
        assert ring.caller(wrong) is None, wrong


def test_without_keys_everyone_may_do_everything() -> None:
    assert Keyring().caller(None) is Keyring().caller("anything") is ANONYMOUS


@pytest.mark.parametrize(
    ("scope", "included"),
    [
        (Scope.READ, {Scope.READ}),
        (Scope.INGEST, {Scope.READ, Scope.INGEST}),
        (Scope.ADMIN, set(Scope)),
    ],
)
def test_a_scope_includes_those_before_it(scope: Scope, included: set[Scope]) -> None:
    assert {other for other in Scope if scope.includes(other)} == included
