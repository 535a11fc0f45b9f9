"""The canonical form, exact to the byte. Contract 6."""

import json
from decimal import Decimal
from hashlib import sha256

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.budget import DEPTH_MAX, DIGITS_MAX
from app.domain.canonical import (
    DuplicateKeys,
    Encoded,
    Exact,
    Json,
    Numbers,
    canonical,
    is_safe_fraction,
    is_safe_integer,
    joined,
)
from app.domain.errors import RecordError


def exact(text: str, numbers: Numbers = Numbers.EXACT) -> bytes:
    return canonical(Exact(numbers=numbers).decoder().decode(text))


VECTOR = """[{"qty": 1, "sku":"00042","name":"Caf\\u00e9 ☕ a\\/b \u2028 \\ud83d\\ude00",
"price":19.990,
"attrs":{ },"tags":[ ],"n":null,"ok":true,"ean":4006381333931,
"big":123456789012345678901234567890}]"""


def test_the_contracts_vector_gives_its_checksum() -> None:
    text = exact(VECTOR)
    assert len(text) == 168
    assert (
        sha256(text).hexdigest()
        == "eedc56f61e41be9f29dfefb81117311f10d4a1d2b7e3fa7b78b8049d723c45b9"
    )


@pytest.mark.parametrize(
    ("token", "written"),
    [
        ("19.990", b"19.99"),
        ("20.00", b"20.0"),
        ("1.50", b"1.5"),
        ("0.0001", b"0.0001"),
        ("-0.0", b"-0.0"),
        ("-0", b"0"),
        ("9007199254740991", b"9007199254740991"),
        ("123456789012345.0", b"123456789012345.0"),
        ("4006381333931", b"4006381333931"),
    ],
)
def test_a_safe_number_is_written_in_its_shortest_form(token: str, written: bytes) -> None:
    decoder = Exact()
    assert canonical(decoder.decoder().decode(token)) == written
    assert decoder.unsafe == 0


@pytest.mark.parametrize(
    "token",
    [
        "9007199254740992",
        "-9007199254740992",
        "18446744073709551616",
        "123456789012345678901234567890",
        "1e5",
        "1E+2",
        "1.0e-3",
        "1e16",
        "1e400",
        "0e0",
        "0.00001",
        "0.30000000000000004",
        "1234567890123456.5",
        "9" * DIGITS_MAX,
    ],
)
def test_an_unsafe_number_is_copied_and_counted(token: str) -> None:
    decoder = Exact()
    assert canonical(decoder.decoder().decode(f'{{"b":{token},"a":1}}')) == (
        b'{"a":1,"b":' + token.encode() + b"}"
    )
    assert decoder.unsafe == 1


def test_an_unsafe_number_can_be_written_as_a_string() -> None:
    assert exact("[1e5, 1.5]", Numbers.STRING) == b'["1e5",1.5]'


def test_an_unsafe_number_can_be_refused() -> None:
    with pytest.raises(RecordError) as caught:
        exact("[1e5]", Numbers.REJECT)
    assert caught.value.code == "NUMBER_UNSAFE"


@pytest.mark.parametrize("token", ["9" * (DIGITS_MAX + 1), "0." + "0" * DIGITS_MAX, "9" * 10**6])
def test_a_number_with_too_many_digits_is_refused(token: str) -> None:
    with pytest.raises(RecordError) as caught:
        exact(token)
    assert caught.value.code == "NUMBER_TOO_LONG"


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_json_number_is_refused(token: str) -> None:
    with pytest.raises(RecordError) as caught:
        exact(f"[{token}]")
    assert caught.value.code == "RECORD_INVALID"


@pytest.mark.parametrize("text", ['"\\ud800"', '{"\\udfff":1}', '[{"a":"x\\ud83dy"}]'])
def test_an_unpaired_surrogate_is_refused(text: str) -> None:
    with pytest.raises(RecordError) as caught:
        exact(text)
    assert caught.value.code == "RECORD_INVALID"


@pytest.mark.parametrize("inner", ["", "1", '{"a":1}', '")))"'])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_is_allowed_up_to_the_limit_and_not_beyond(
    opening: str, closing: str, inner: str
) -> None:
    if opening != "[" and not inner:
        inner = "{}"
    around = DEPTH_MAX - inner.startswith("{")
    deepest = opening * around + inner + closing * around

    exact(deepest)
    for too_deep in (f"[{deepest}]", f'{{"b":{deepest}}}'):
        with pytest.raises(RecordError) as caught:
            exact(too_deep)
        assert caught.value.code == "RECORD_TOO_DEEP"


def test_records_are_encoded_together_as_one_by_one() -> None:
    values: list[Json] = [{"b": 1, "a": [None, "é"]}, 2, "x", [], {}, 0.5]
    encoded = Encoded(values)

    single = [canonical(value) for value in values]
    assert list(encoded) == single
    assert list(encoded[2:5]) == single[2:5]
    for start in range(7):
        for end in range(start, 7):
            assert joined(encoded, start, end) == b",".join(single[start:end])
            assert joined(single, start, end) == b",".join(single[start:end])


@pytest.mark.parametrize("depth", [15, 16, 17, 18, 100, 190])
def test_what_is_encoded_level_by_level_has_the_same_form(depth: int) -> None:
    inner = '{"é":1.50,"a":[],"B":{"z":null,"y":true},"u":123456789012345678901}'
    text = '[{"k":' * (depth // 2) + inner + "},2]" * (depth // 2)

    written = exact(text)

    form = json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert written.decode() == form


def test_keys_are_sorted_by_code_point_and_text_is_not_normalised() -> None:
    text = '{"é":1,"e\u0301":2,"\U0001f600":3,"\uffee":4,"a":5,"B":6,"":7}'
    keys = list(json.loads(exact(text)))
    assert keys == ["", "B", "a", "e\u0301", "é", "\uffee", "\U0001f600"]


def test_only_what_must_be_escaped_is() -> None:
    text = json.dumps("".join(map(chr, range(0x80))) + "\u2028\u2029é")
    written = exact(text).decode()
    assert written.startswith('"\\u0000\\u0001')
    assert "\\b\\t\\n\\u000b\\f\\r\\u000e" in written
    assert written.endswith('}~\x7f\u2028\u2029é"')
    assert "/" in written
    assert "\\/" not in written


def test_the_last_of_two_equal_keys_wins_unless_they_are_refused() -> None:
    assert exact('{"a":1,"a":2}') == b'{"a":2}'
    with pytest.raises(RecordError) as caught:
        Exact(duplicate_keys=DuplicateKeys.REFUSE).decoder().decode('[{"a":1,"a":2}]')
    assert caught.value.code == "DUPLICATE_KEY"


@given(st.integers() | st.integers(2**53 - 3, 2**53 + 3) | st.integers(10**14, 10**17))
def test_an_integer_is_safe_up_to_2_to_the_53(number: int) -> None:
    assert is_safe_integer(str(number)) == (abs(number) <= 2**53 - 1)


FRACTIONS = st.from_regex(r"-?(0|[1-9][0-9]{0,17})\.[0-9]{1,20}", fullmatch=True)


@given(FRACTIONS)
def test_a_fraction_is_safe_exactly_as_the_contract_says(token: str) -> None:
    number = Decimal(token)
    digits = len("".join(map(str, number.normalize().as_tuple().digits)))
    in_range = number == 0 or Decimal("1e-4") <= abs(number) < Decimal("1e15")
    # An integer written with a fraction: zeros before the point are digits too.
    integer_digits = len(str(abs(int(number))))
    safe = in_range and max(digits, integer_digits if int(number) else 0) <= 15
    assert is_safe_fraction(token) == safe


@given(FRACTIONS)
def test_a_safe_fraction_survives_a_receivers_decode_and_encode(token: str) -> None:
    written = exact(token)
    assert Decimal(written.decode()) == Decimal(token)
    assert b"." in written
    if is_safe_fraction(token):
        assert orjson.dumps(orjson.loads(written)) == written
        assert json.dumps(json.loads(written)).encode() == written
    else:
        assert written == token.encode()
