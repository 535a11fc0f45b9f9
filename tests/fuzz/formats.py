"""The formats that are fuzzed: who judges, what it starts from, the words of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tests.fuzz import seeds
from tests.fuzz.case import Case
from tests.fuzz.csv_judge import judge_csv
from tests.fuzz.json_judge import judge_json, judge_ndjson
from tests.fuzz.xlsx_judge import judge_xlsx


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """How one format is fuzzed."""

    judge: Callable[[Case], None]
    seeds: Callable[[], Iterable[bytes]]
    tokens: Sequence[bytes]


FORMATS = {
    "json": Format(judge=judge_json, seeds=seeds.json_seeds, tokens=seeds.JSON_TOKENS),
    "ndjson": Format(judge=judge_ndjson, seeds=seeds.ndjson_seeds, tokens=seeds.JSON_TOKENS),
    "csv": Format(judge=judge_csv, seeds=seeds.csv_seeds, tokens=seeds.CSV_TOKENS),
    "xlsx": Format(judge=judge_xlsx, seeds=seeds.xlsx_seeds, tokens=seeds.XLSX_TOKENS),
}
