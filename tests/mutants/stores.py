"""Seeded defects in what is stored, when, and by whom."""

from tests.mutants.planting import Defect, Edit

_CHUNKING = "app/domain/chunking.py"
_LEDGER = "app/stores/sqlite/ledger.py"
_CHUNKS = "app/stores/sqlite/chunks.py"
_CONNECTION = "app/stores/sqlite/connection.py"
_PRAGMAS = "app/stores/sqlite/pragmas.py"
_MEMORY = "app/stores/memory.py"

_COUNT = "           records_delivered = records_delivered + :records,\n"
_COUNT_ALONE = (
    '"UPDATE ingestions SET records_delivered = records_delivered + ? WHERE id = ?",\n'
    "        (ref.record_count, ref.ingestion_id),"
)

_COUNTED_APART = f"        await self._writer.write(lambda db: db.execute({_COUNT_ALONE}))\n"

_WRITTEN = "        if is_large:\n            await self._writer.write(work)\n"
_BURIED = "                refused.replace(db, ref, dead_letters)\n"
_BURIED_ALONE = (
    "        await self._writer.write(lambda db: refused.replace(db, ref, dead_letters))\n"
)

STORES = (
    Defect(
        4,
        "position and total in two transactions",
        [
            Edit(_LEDGER, _COUNT, ""),
            Edit(
                _LEDGER,
                _WRITTEN,
                _WRITTEN + _COUNTED_APART,
            ),
        ],
        [
            "tests/contract/test_ledger_chunks.py::test_a_cancelled_commit_happens_as_a_whole_or_not_at_all"
        ],
    ),
    Defect(
        4,
        "position and total in two transactions: the total first",
        [
            Edit(_LEDGER, _COUNT, ""),
            Edit(
                _LEDGER,
                _WRITTEN,
                _COUNTED_APART + _WRITTEN,
            ),
        ],
        [
            "tests/contract/test_ledger_chunks.py::test_a_cancelled_commit_happens_as_a_whole_or_not_at_all"
        ],
    ),
    Defect(
        22,
        "dead letter not durable before progress",
        [Edit(_LEDGER, _BURIED, ""), Edit(_LEDGER, _WRITTEN, _WRITTEN + _BURIED_ALONE)],
        ["tests/contract/test_dead_letters.py::test_they_are_there_as_soon_as_progress_is"],
    ),
    Defect(
        22,
        "dead letter not durable before progress: nor after it",
        [Edit(_LEDGER, _BURIED, "")],
        ["tests/contract/test_dead_letters.py::test_they_are_kept_to_the_last_byte"],
    ),
    Defect(
        22,
        "dead letter of an earlier ACK outlives the chunk's next one",
        [Edit(_LEDGER, "if dead_letters or rejected_before:", "if dead_letters:")],
        ["tests/contract/test_dead_letters.py::test_the_later_ack_of_a_chunk_replaces_them"],
    ),
    Defect(
        23,
        "dead letters not counted",
        [Edit(_LEDGER, "           records_rejected = records_rejected + :rejected,\n", "")],
        ["tests/contract/test_dead_letters.py::test_they_are_kept_to_the_last_byte"],
    ),
    Defect(
        23,
        "dead letters not counted: in memory",
        [Edit(_MEMORY, "len(row.dead_letters.get(ref.number, ()))", "0")],
        ["tests/contract/test_dead_letters.py::test_they_are_kept_to_the_last_byte"],
    ),
    Defect(
        23,
        "dead letters not counted: not again after a rewind",
        [
            Edit(
                _LEDGER,
                "COALESCE(SUM(rejected), 0),\n",
                "0,\n",
            )
        ],
        [
            "tests/contract/test_dead_letters.py::test_those_of_chunks_that_are_taken_back_do_not_count"
        ],
    ),
    Defect(
        5,
        "counting before ack",
        [
            Edit(_LEDGER, _COUNT, ""),
            Edit(
                _CHUNKS,
                "    if db.execute(_INSERT_NEW, chunk_cells(ref, staged_at=now)).rowcount == 0:\n",
                "    new = db.execute(_INSERT_NEW, chunk_cells(ref, staged_at=now)).rowcount\n"
                f"    if new:\n        db.execute({_COUNT_ALONE})\n    if not new:\n",
            ),
        ],
        [
            "tests/contract/test_ledger_chunks.py::test_a_staged_chunk_is_remembered_but_is_no_progress"
        ],
    ),
    Defect(
        5,
        "counting before ack: in memory",
        [
            Edit(
                _MEMORY,
                "records_delivered=sum(ref.record_count for ref in acked)",
                "records_delivered=sum(ref.record_count for ref in row.chunks)",
            )
        ],
        [
            "tests/contract/test_ledger_states.py::test_a_rewind_takes_acks_back_and_keeps_what_was_cut"
        ],
    ),
    Defect(
        7,
        "re-cutting with new sizes on resume: what was staged is forgotten",
        [
            Edit(_CHUNKS, "planned=tuple(Boundary(**dict(row)) for row in planned)", "planned=()"),
        ],
        [
            "tests/contract/test_ledger_chunks.py::test_a_staged_chunk_is_remembered_but_is_no_progress"
        ],
    ),
    Defect(
        8,
        "resume without checking the checksum: staged over what was staged",
        [
            Edit(
                _CHUNKING,
                "if planned is not None and planned.checksum != checksum:",
                "if False:",
            ),
            Edit("app/stores/rules.py", "if stored != content_of(ref):", "if False:"),
        ],
        [
            "tests/contract/test_ledger_chunks.py::test_a_chunk_that_contradicts_what_was_staged_is_refused"
        ],
    ),
    Defect(
        9,
        "synchronous=OFF",
        [Edit(_PRAGMAS, '"PRAGMA synchronous = FULL"', '"PRAGMA synchronous = OFF"')],
        [
            "tests/unit/stores/sqlite/test_connection.py::test_what_makes_a_commit_last_is_switched_on"
        ],
    ),
    Defect(
        9,
        "synchronous=NORMAL",
        [Edit(_PRAGMAS, '"PRAGMA synchronous = FULL"', '"PRAGMA synchronous = NORMAL"')],
        [
            "tests/unit/stores/sqlite/test_connection.py::test_what_makes_a_commit_last_is_switched_on"
        ],
    ),
    Defect(
        9,
        "a journal that is in memory",
        [
            Edit("app/stores/sqlite/schema.py", "journal_mode = WAL", "journal_mode = MEMORY"),
            Edit("app/stores/sqlite/schema.py", 'if mode != "wal":', 'if mode != "memory":'),
        ],
        ["tests/unit/stores/sqlite/test_store.py::test_the_log_is_written_ahead"],
    ),
    Defect(
        24,
        "lease without epoch",
        [
            Edit(
                _LEDGER,
                '_HELD = "SELECT * FROM ingestions WHERE id = ? AND lease_epoch = ?',
                '_HELD = "SELECT * FROM ingestions WHERE id = ? AND lease_epoch >= ?',
            ),
            Edit(
                _LEDGER,
                "AND number = next_chunk\n     WHERE id = ? AND lease_epoch = ?",
                "AND number = next_chunk\n     WHERE id = ? AND lease_epoch >= ?",
            ),
            Edit(
                _LEDGER,
                "AND number = next_chunk - 1\n     WHERE id = ? AND lease_epoch = ?",
                "AND number = next_chunk - 1\n     WHERE id = ? AND lease_epoch >= ?",
            ),
        ],
        ["tests/contract/test_ledger.py::test_a_stale_epoch_changes_nothing"],
    ),
    Defect(
        24,
        "lease without epoch: in memory",
        [Edit(_MEMORY, " or row.epoch != lease.epoch", "")],
        ["tests/contract/test_ledger.py::test_a_stale_epoch_changes_nothing"],
    ),
    Defect(
        24,
        "lease without epoch: none is ever higher",
        [Edit(_LEDGER, "lease_epoch = lease_epoch + 1", "lease_epoch = lease_epoch")],
        ["tests/contract/test_ledger.py::test_a_stale_epoch_changes_nothing"],
    ),
    Defect(
        24,
        "lease without owner: a worker that was replaced goes on",
        [
            Edit(
                _LEDGER,
                'WHERE id = ? AND lease_epoch = ? AND lease_owner = ?"',
                'WHERE id = ? AND lease_epoch >= ? AND ? IS NOT NULL"',
            ),
            Edit(
                _LEDGER,
                "AND number = next_chunk\n"
                "     WHERE id = ? AND lease_epoch = ? AND lease_owner = ?",
                "AND number = next_chunk\n     WHERE id = ? AND lease_epoch >= ? AND ? IS NOT NULL",
            ),
            Edit(
                _LEDGER,
                "AND number = next_chunk - 1\n"
                "     WHERE id = ? AND lease_epoch = ? AND lease_owner = ?",
                "AND number = next_chunk - 1\n"
                "     WHERE id = ? AND lease_epoch >= ? AND ? IS NOT NULL",
            ),
        ],
        [
            "tests/unit/stores/sqlite/test_store.py::test_a_worker_that_renews_keeps_its_lease_and_one_that_does_not_loses_it"
        ],
    ),
    Defect(
        45,
        "a worker that stood still believes in what it lost",
        [
            Edit(
                "app/stores/sqlite/tenure.py",
                "        if lease.stretch != self.stretch and ",
                "        if lease.stretch > self.stretch and ",
            )
        ],
        [
            "tests/unit/stores/sqlite/test_store.py::test_a_worker_that_stood_still_is_sure_of_what_it_kept_and_told_what_it_lost"
        ],
    ),
    Defect(
        46,
        "the event loop writes while the thread is at work",
        [Edit(_CONNECTION, " or self._works.waiting or ", " or ")],
        [
            "tests/unit/stores/sqlite/test_write_soon.py::test_while_the_thread_is_at_work_it_waits_for_it"
        ],
    ),
    Defect(
        46,
        "the event loop waits for another process",
        [Edit("app/stores/sqlite/nearby.py", "may_wait=False", "may_wait=True")],
        [
            "tests/unit/stores/sqlite/test_write_soon.py::test_the_event_loop_never_waits_for_another_process"
        ],
    ),
    Defect(
        46,
        "what the event loop is to write comes after what was asked for later",
        [Edit(_CONNECTION, "        self._write_nearby()  # It was asked for before.\n", "")],
        ["tests/unit/stores/sqlite/test_write_soon.py::test_what_is_asked_for_later_comes_later"],
    ),
)
