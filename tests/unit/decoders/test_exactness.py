"""The check that lets a block of JSON take the fast path."""

import json
import random
from decimal import Decimal
from hashlib import sha256
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.decoders.json.exactness import is_plain, is_shallow
from app.domain.budget import DIGITS_MAX
from app.domain.canonical import SHALLOW_LEVELS, Exact
from tests.support.json_texts import Writer, values


@pytest.mark.parametrize(
    "text",
    [
        '{"price":20.00,"sale":1.50,"was":-0.99,"zero":0.0000,"none":0.0}',
        '{"ean":4006381333931,"sscc":"340123450000000018","gtin":"04006381333931"}',
        '{"max":9007199254740991,"min":-9007199254740991}',
        '{"lat":52.520006599999,"lon":123456789.012345,"w":123456789012345.0}',
        '{"padded":1.50000000000000000000}',
        json.dumps({"sha": [sha256(bytes([i])).hexdigest() for i in range(200)]}),
        json.dumps(
            {"uuid": [str(UUID(int=random.Random(i).getrandbits(128))) for i in range(999)]}
        ),
        json.dumps({"text": "é è ê 中文 年 ひらがな ラーメン ไทย"}),
        '{"serial":"12345e678901234567890123456789","when":"2024-01-15T10:30:00.000000+02:00"}',
        '{"a":true,"e":false,"E":null,"e5":"1e"}',
        '[{"n":1},{"n":0.0001},{"n":10000000000000.5}]',
    ],
)
def test_ordinary_data_stays_on_the_fast_path(text: str) -> None:
    assert is_plain(text.encode())
    assert is_plain(text.encode()[1:-1])


@pytest.mark.parametrize(
    "token",
    [
        "1e5",
        "1E5",
        "1e+5",
        "1.5E-5",
        "-0e0",
        "9007199254740992",
        "-9007199254740992",
        "18446744073709551616",
        "0.30000000000000004",
        "0.00001",
        "-0.00009999",
        "1234567890123456.0",
        "9" * 100,
        "9" * 5000,
        "1." + "0" * DIGITS_MAX,
    ],
)
@pytest.mark.parametrize(
    "around",
    ["{}", "[{}]", '{{"a":{}}}', "1,\n{}\t,2", '"x", {} ,"9f86d081e5"', '{{"a":{},"b":"e"}}'],
)
def test_an_unsafe_number_is_found_wherever_it_stands(token: str, around: str) -> None:
    assert not is_plain(around.format(token).encode())


@given(values(), st.randoms(use_true_random=False), st.booleans())
@example({"a": "1e5"}, random.Random(0), True)
def test_no_unsafe_number_is_missed(value: object, rng: random.Random, compact: bool) -> None:
    text = Writer(rng, compact=compact).write(value)
    exact = Exact()
    exact.decoder().decode(text.strip())
    if exact.unsafe:
        assert not is_plain(text.encode())


@given(
    st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
)
def test_a_lone_number_is_judged_exactly(token: str) -> None:
    exact = Exact()
    exact.decoder().decode(token)
    assert is_plain(token.encode()) == (exact.unsafe == 0)
    assert is_plain(f'{{"a":{token}}}'.encode()) == (exact.unsafe == 0)
    if is_plain(token.encode()):
        assert Decimal(json.dumps(json.loads(token))) == Decimal(token)


@pytest.mark.parametrize("levels", [0, 1, SHALLOW_LEVELS])
def test_what_is_nested_a_little_is_shallow(levels: int) -> None:
    deep = b"[" * levels + b"1" + b"]" * levels
    assert is_shallow(b",".join([deep, b'{"a":1,"b":{}}', deep]))


@pytest.mark.parametrize("levels", [SHALLOW_LEVELS + 1, 200, 5000])
def test_closing_brackets_in_a_row_are_noticed(levels: int) -> None:
    deep = b'{"a":[' * levels + b"1" + b"]}" * levels
    assert not is_shallow(deep)
    assert not is_shallow(b"1," + deep + b',{"a":"' + b"]" * levels + b'"}')
    assert not is_shallow(b" ]" * levels)
