"""Standard Webhooks 1.0.0. Contract 3.3."""

from base64 import b64encode

import pytest

from app.wire.signature import TOLERANCE_S, SignatureFault, read_secret, sign, verify

# The vector of the specification's reference libraries.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
TIME = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

KEY = read_secret(SECRET)
OTHER = b"another key of at least 24 bytes"


def check(
    *,
    message_id: str = ID,
    timestamp: str = str(TIME),
    signatures: str = SIGNATURE,
    body: bytes = BODY,
    secrets: tuple[bytes, ...] = (KEY,),
    now_s: float = TIME,
) -> SignatureFault | None:
    return verify(
        message_id=message_id,
        timestamp=timestamp,
        signatures=signatures,
        body=body,
        secrets=secrets,
        now_s=now_s,
    )


def test_the_published_vector_is_met() -> None:
    assert sign(ID, TIME, [BODY], [KEY]) == SIGNATURE
    assert check() is None


def test_while_secrets_are_replaced_each_side_may_know_either() -> None:
    both = sign(ID, TIME, [BODY], [OTHER, KEY])
    assert len(both.split(" ")) == 2
    assert check(signatures=both, secrets=(KEY,)) is None
    assert check(signatures=both, secrets=(OTHER,)) is None
    assert check(signatures=SIGNATURE, secrets=(OTHER, KEY)) is None


def test_signatures_of_other_schemes_are_passed_over() -> None:
    assert check(signatures=f"v1a,AAAA {SIGNATURE}") is None
    assert check(signatures=SIGNATURE.replace("v1,", "v2,")) is SignatureFault.SIGNATURE_INVALID


@pytest.mark.parametrize(
    "wrong",
    [
        {"message_id": ID + "x"},
        {"timestamp": str(TIME + 1)},
        {"timestamp": ""},
        {"timestamp": "-1"},
        {"timestamp": "٣"},
        {"timestamp": "9" * 5000},
        {"body": BODY + b" "},
        {"secrets": (OTHER,)},
        {"secrets": ()},
        {"signatures": ""},
        {"signatures": "v1"},
        {"signatures": "v1,"},
        {"signatures": "v1,é"},
        {"signatures": SIGNATURE[:-1]},
    ],
    ids=str,
)
def test_anything_else_is_no_signature(wrong: dict[str, str]) -> None:
    assert check(**wrong) is SignatureFault.SIGNATURE_INVALID  # type: ignore[arg-type]


@pytest.mark.parametrize("skew", [TOLERANCE_S + 1, -TOLERANCE_S - 1])
def test_a_clock_too_far_off_is_told_apart_from_a_wrong_key(skew: int) -> None:
    assert check(now_s=TIME + skew) is SignatureFault.TIMESTAMP_OUT_OF_RANGE
    assert check(now_s=TIME + skew, secrets=(OTHER,)) is SignatureFault.SIGNATURE_INVALID


def test_a_clock_at_the_edge_of_the_tolerance_is_fine() -> None:
    assert check(now_s=TIME + TOLERANCE_S) is None
    assert check(now_s=TIME - TOLERANCE_S) is None


def test_a_secret_is_read_with_and_without_its_prefix() -> None:
    assert read_secret(SECRET.removeprefix("whsec_")) == KEY


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "whsec_!!!",
        "whsec_" + b64encode(bytes(23)).decode(),
        b64encode(bytes(65)).decode(),
    ],
)
def test_a_bad_secret_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="a secret") as caught:
        read_secret(text)
    assert "!!!" not in str(caught.value)
