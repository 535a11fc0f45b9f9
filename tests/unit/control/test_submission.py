"""What a person wrote, checked without looking at the file."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.control.submission import (
    CHUNK_CEILING,
    FILE_TYPE_NAMES,
    OPTION_FILE_TYPES,
    SubmitRequest,
    file_type_of,
    submission_of,
)
from app.domain.budget import ChunkLimits
from app.domain.canonical import DuplicateKeys, Numbers
from app.domain.errors import FileTypeUnknown, OptionInvalid
from app.domain.ingestion import DecodeOptions, FileType, Submission
from app.domain.record_path import parse_path, path_text, sole_path_text

DEFAULTS = ChunkLimits(records=1000, memory=4096)
SAMPLES: dict[str, Any] = {
    "record_path": "data.products",
    "delimiter": ";",
    "quote": "'",
    "encoding": "utf-16",
    "sheet": 0,
    "header_row": 3,
    "canonical": False,
    "numbers": Numbers.STRING,
    "duplicate_keys": DuplicateKeys.REFUSE,
}


def asked(file_type: str = "json", **members: Any) -> SubmitRequest:
    return SubmitRequest(
        file_path="/srv/a", file_type=file_type, callback_url="https://r.example/", **members
    )


def checked(request: SubmitRequest) -> Submission:
    return submission_of(request, defaults=DEFAULTS, ceiling=CHUNK_CEILING)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("json", FileType.JSON), ("jsonl", FileType.NDJSON), ("xlsx", FileType.EXCEL)],
)
def test_other_names_stand_for_the_main_one(name: str, kind: FileType) -> None:
    assert checked(asked(name)).file_type is kind


@pytest.mark.parametrize("name", ["", "JSON", "xml", "json "])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(FileTypeUnknown):
        file_type_of(name)


@pytest.mark.parametrize("name", FILE_TYPE_NAMES)
@pytest.mark.parametrize("option", SAMPLES)
def test_an_option_is_taken_exactly_where_it_is_heeded(name: str, option: str) -> None:
    request = asked(name, options=DecodeOptions(**{option: SAMPLES[option]}))
    if file_type_of(name) in OPTION_FILE_TYPES[option]:
        assert checked(request).options == request.options
    else:
        with pytest.raises(OptionInvalid) as refusal:
            checked(request)
        assert refusal.value.member == f"options.{option}"


def test_records_that_keep_their_bytes_cannot_have_numbers_made_strings() -> None:
    options = DecodeOptions(canonical=False, numbers=Numbers.STRING)
    with pytest.raises(OptionInvalid) as refused:
        checked(asked(options=options))
    assert refused.value.member == "options.numbers"


def test_every_option_says_where_it_is_heeded() -> None:
    assert OPTION_FILE_TYPES.keys() == DecodeOptions.__dataclass_fields__.keys() == SAMPLES.keys()


@pytest.mark.parametrize(
    ("limits", "stored"),
    [
        (ChunkLimits(), DEFAULTS),
        (ChunkLimits(records=5), ChunkLimits(records=5, memory=CHUNK_CEILING.memory)),
        (ChunkLimits(memory=512), ChunkLimits(memory=512)),
        (ChunkLimits(records=5, memory=3), ChunkLimits(records=5, memory=3)),
        (CHUNK_CEILING, CHUNK_CEILING),
    ],
)
def test_the_bytes_of_a_chunk_are_always_bounded(limits: ChunkLimits, stored: ChunkLimits) -> None:
    """Invariant 4."""
    assert checked(asked(limits=limits)).limits == stored


@pytest.mark.parametrize(
    "limits",
    [
        ChunkLimits(memory=1),
        ChunkLimits(memory=2),
        ChunkLimits(memory=CHUNK_CEILING.memory + 1),
        ChunkLimits(records=CHUNK_CEILING.records + 1),
    ],
)
def test_a_limit_that_cannot_work_is_refused(limits: ChunkLimits) -> None:
    with pytest.raises(OptionInvalid):
        checked(asked(limits=limits))


@pytest.mark.parametrize(
    "path", ["a", "a.b", "$", "$.a", "\\$", r"a\.", r"a\.b", r"\..a", r"a\\", r"\\.a"]
)
def test_a_record_path_is_taken_when_the_decoder_can_read_it(path: str) -> None:
    parse_path(path)
    assert checked(asked(options=DecodeOptions(record_path=path))).options.record_path == path


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "empty"),
        (".", "empty"),
        ("a.", "empty"),
        (".a", "empty"),
        ("a..b", "empty"),
        ("$.", "empty"),
        (r"a\\.", "empty"),
        ("\\", "escape"),
        ("a.b\\", "escape"),
        ("a" + 5 * "\\", "escape"),
    ],
)
def test_a_record_path_that_leads_nowhere_is_refused(path: str, why: str) -> None:
    with pytest.raises(OptionInvalid) as refusal:
        checked(asked(options=DecodeOptions(record_path=path)))
    assert (refusal.value.member, why in refusal.value.message) == ("options.record_path", True)


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4))
def test_whatever_detection_finds_can_be_submitted_as_well(members: list[str]) -> None:
    for path in (path_text(members), sole_path_text(members)):
        assert checked(asked(options=DecodeOptions(record_path=path))).options.record_path == path


def test_a_digest_ignores_order_and_key_and_nothing_else() -> None:
    one = asked(metadata={"a": "1", "b": "2"}, idempotency_key="x")
    same = asked(metadata={"b": "2", "a": "1"}, idempotency_key="y")
    others = [
        asked(metadata={"a": "1"}),
        asked("ndjson", metadata={"a": "1", "b": "2"}),
        asked(metadata={"a": "1", "b": "2"}, re_ingestion=True),
        asked(metadata={"a": "1", "b": "2"}, limits=ChunkLimits(records=1)),
        asked(metadata={"a": "1", "b": "2"}, options=DecodeOptions(record_path="x")),
    ]

    assert one.digest() == same.digest()
    assert len({request.digest() for request in (one, *others)}) == len(others) + 1


@given(
    file_type=st.sampled_from(FILE_TYPE_NAMES) | st.text(max_size=10),
    limits=st.builds(ChunkLimits, records=st.integers(0), memory=st.integers(0)),
    options=st.builds(
        DecodeOptions,
        record_path=st.none() | st.text(),
        delimiter=st.none() | st.text(max_size=2),
        quote=st.none() | st.text(max_size=2),
        encoding=st.none() | st.text(max_size=10) | st.sampled_from(["utf-8", "idna", "punycode"]),
        sheet=st.none() | st.text() | st.integers(),
        header_row=st.none() | st.integers(),
    ),
)
def test_nothing_but_a_submission_or_a_refusal_ever_comes_out(
    file_type: str, limits: ChunkLimits, options: DecodeOptions
) -> None:
    with suppress(FileTypeUnknown, OptionInvalid):
        submission = checked(asked(file_type, limits=limits, options=options))
        assert 0 < submission.limits.memory <= CHUNK_CEILING.memory
