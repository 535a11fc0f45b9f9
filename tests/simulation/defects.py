"""Defects to plant in the engine, in memory, to see whether the simulation finds them.

A defect is an edit of a function's source: the edited function is compiled and its code put
in the place of the old one, so that whoever imported it has it. An edit that no longer fits
the source is an error: a defect that is not planted proves nothing.
"""

import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any, cast

from app.domain.chunking import Chunker
from app.domain.judgement import _Ruling
from app.pipeline.deliver import Delivery
from app.pipeline.origins import Origins
from app.pipeline.run import Run
from app.pipeline.settle import Settler
from app.readers import cutting
from app.receiver.http import HttpReceiver
from app.stores.memory import MemoryStore
from app.wire import answer


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace what occurs once in a function, which is taken to begin in the first column."""

    function: Callable[..., Any]
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Defect:
    """A bug that somebody could write."""

    name: str
    edits: Sequence[Edit]


_SETTLE = "verdict, sends = await self._settler.settle("
_COMMIT = """await self._ledger.commit(
            lease, ref, dead_letters=dead_letters, then_stage=then_stage, pause=pause
        )"""
_STAGE = "await self._ledger.stage(lease, ref)"
_REPLACE = "__import__('dataclasses').replace"

DEFECTS = (
    Defect(
        "1 commit before ack",
        [
            Edit(Delivery._deliver, _SETTLE, f"await self._ledger.commit(lease, ref); {_SETTLE}"),
            Edit(
                Delivery._deliver,
                _COMMIT,
                "await self._ledger.stage(lease, then_stage) if then_stage else None",
            ),
        ],
    ),
    Defect(
        "2 truthy ack",
        [
            Edit(
                answer.read_answer,
                "ack=ack if isinstance(ack, bool) else None",
                "ack=None if ack is None else bool(ack)",
            )
        ],
    ),
    Defect(
        "3 status-only ack",
        [Edit(_Ruling.answer, "if accepted and answer.ack is True:", "if accepted:")],
    ),
    Defect(
        "5 counting before ack",
        [
            Edit(
                MemoryStore._count_again,
                "sum(ref.record_count for ref in acked)",
                "sum(ref.record_count for ref in row.chunks)",
            )
        ],
    ),
    Defect(
        "22 dead letter not durable before progress",
        [
            Edit(
                Delivery._deliver,
                _COMMIT,
                "await self._ledger.commit(lease, ref, then_stage=then_stage, pause=pause)",
            )
        ],
    ),
    Defect(
        "23 dead letters not counted",
        [Edit(MemoryStore._count_again, "len(row.dead_letters.get(ref.number, ()))", "0")],
    ),
    Defect(
        "6 skipping a chunk when retries run out",
        [
            Edit(
                Settler.settle,
                "after_s, unavailable = self._ran_out(course, failure, alive=alive)",
                "return Commit(), course.sends",
            )
        ],
    ),
    Defect(
        "7 re-cutting with new sizes on resume",
        [Edit(Run._job, "resume=point", f"resume={_REPLACE}(point, planned=())")],
    ),
    Defect(
        "8 resume without checking the checksum",
        [
            Edit(
                Chunker._seal,
                "if planned is not None and planned.checksum != checksum:",
                "if False:",
            )
        ],
    ),
    Defect(
        "10 two sends in flight",
        [
            Edit(
                Settler.settle,
                "reply = await self._receiver.post(message, attempt=course.sends)",
                "reply, _ = await __import__('asyncio').gather(*[self._receiver.post(message, "
                "attempt=course.sends) for _ in (1, 2)])",
            )
        ],
    ),
    Defect(
        "11 COMPLETED before the last ack",
        [
            Edit(
                Run._round,
                "accounted = ingestion.progress.records_accounted",
                "accounted = ingestion.progress.records_accounted\n    if point.planned:\n"
                "        early = crew.messages.completed("
                f"{_REPLACE}(ingestion, records_read=accounted))\n"
                "        await crew.receiver.post(early, attempt=1)",
            )
        ],
    ),
    Defect(
        "12 total from memory",
        [
            Edit(
                Delivery._deliver,
                _COMMIT,
                f"{_COMMIT}\n        self.total = getattr(self, 'total', 0) + ref.record_count",
            ),
            Edit(
                Run._complete,
                "crew.messages.completed(ingestion)",
                f"crew.messages.completed({_REPLACE}(ingestion, progress={_REPLACE}("
                "ingestion.progress, records_delivered=getattr(self._delivery, 'total', 0))))",
            ),
        ],
    ),
    Defect(
        "13 COMPLETED stored before its ack",
        [
            Edit(
                Run._complete,
                "verdict, _ = await self._settler.settle(",
                "await crew.ledger.move(lease, State.COMPLETED)\n"
                "    verdict, _ = await self._settler.settle(",
            )
        ],
    ),
    Defect(
        "16 no deadline for the whole exchange",
        [
            Edit(
                HttpReceiver.post,
                "+ self._deadline_s",
                "+ 1e9",
            )
        ],
    ),
    Defect(
        "17 ignoring Retry-After",
        [
            Edit(
                _Ruling._hold_back,
                "asked = min(answer.retry_after_s or 0.0, RETRY_AFTER_S_MAX)",
                "asked = 0.0",
            )
        ],
    ),
    Defect(
        "19 a truncated source accepted",
        [
            Edit(
                cutting.cut,
                "record=chunker.records_taken)\n        raise",
                "record=chunker.records_taken)",
            )
        ],
    ),
    Defect(
        "24 lease without epoch",
        [Edit(MemoryStore._held, " or row.epoch != lease.epoch", "")],
    ),
    Defect(
        "sending before staging",
        [
            Edit(Delivery._deliver, _STAGE, "unstaged = True"),
            Edit(
                Delivery._deliver,
                "cut_end = resume.number + len(resume.planned)",
                "cut_end = resume.number + len(resume.planned); unstaged = False",
            ),
            Edit(
                Delivery._deliver,
                _COMMIT,
                f"{_STAGE} if unstaged else None\n        unstaged = False\n        {_COMMIT}",
            ),
        ],
    ),
    Defect(
        "not comparing fingerprints",
        [
            Edit(
                cutting._same,
                "if difference := expected.difference(found, in_attributes=not while_open):",
                "if False:",
            )
        ],
    ),
    Defect(
        "one breaker for all receivers",
        [Edit(Origins.of, "url.port or _PORTS.get(url.scheme))", "None)[:1]")],
    ),
)
"""With their numbers where they are among the 26 of `docs/reliability.md`."""


@contextmanager
def planted(defect: Defect) -> Iterator[None]:
    """Have the engine contain the defect. Raises ``AssertionError`` when it does not fit."""
    functions = {id(edit.function): cast("FunctionType", edit.function) for edit in defect.edits}
    before = {key: function.__code__ for key, function in functions.items()}
    try:
        for key, function in functions.items():
            source = textwrap.dedent(inspect.getsource(function))
            for edit in defect.edits:
                if id(edit.function) == key:
                    assert source.count(edit.old) == 1, f"{defect.name}: no place for {edit.old!r}"
                    source = source.replace(edit.old, edit.new)
            made: dict[str, FunctionType] = {}
            exec(compile(source, f"<{defect.name}>", "exec"), function.__globals__, made)
            function.__code__ = made[function.__name__].__code__
        yield
    finally:
        for key, function in functions.items():
            function.__code__ = before[key]
