"""Learning what stands between two records."""

import pytest

from app.decoders.json.marks import learn


def spans(text: str, records: list[str]) -> list[tuple[int, int]]:
    found, at = [], 0
    for record in records:
        start = text.index(record, at)
        at = start + len(record)
        found.append((start, at))
    return found


@pytest.mark.parametrize(
    ("records", "gap"),
    [
        ([f'{{"id":{n},"v":[{{"w":{n}}},{{"w":2}}]}}' for n in range(9)], ","),
        ([f'{{"id":{n},"v":[{{"id":{n}}},{{"id":2}}]}}' for n in range(9)], ","),
        (
            [
                f'{{\n  "id": {n},\n  "v": [\n    {{\n      "id": 1\n    }}\n  ]\n}}'
                for n in range(9)
            ],
            ",\n",
        ),
        ([f'{{"é{n}":"ü"}}' for n in range(9)], " , "),
        ([str(n) for n in range(50)], ",\n"),
        ([f"[{n},{n}]" for n in range(9)], ","),
    ],
)
def test_a_mark_stands_between_records_and_nowhere_else(records: list[str], gap: str) -> None:
    text = gap.join(records) + gap
    mark = learn(text, spans(text, records[:-1]))
    assert mark is not None
    data = text.encode()
    ends = {len(gap.join(records[:n]).encode()) + gap.index(",") for n in range(1, len(records))}
    commas, hit = set(), data.find(mark.pattern)
    while hit >= 0:
        commas.add(hit + mark.comma)
        hit = data.find(mark.pattern, hit + 1)
    assert commas
    assert commas <= ends | {len(gap.join(records).encode()) + gap.index(",")}


def test_where_no_mark_is_right_every_time_one_that_often_is_will_do() -> None:
    records = ['{"id":1,"of":[{"id":2},{"id":3}],"n":"x"}', '{"id":4,"of":[],"n":{"id":5}}'] * 4
    text = ",".join(records) + ","
    mark = learn(text, spans(text, records))
    assert mark is not None
    assert mark.pattern[mark.comma : mark.comma + 1] == b","


def test_nothing_is_learnt_from_nothing() -> None:
    assert learn("1,", []) is None
