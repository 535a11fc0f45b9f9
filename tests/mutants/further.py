"""Seeded defects that no list asks for, and that an outsider might plant."""

from tests.mutants.planting import Defect, Edit

_RUN = "app/pipeline/run.py"
_SETTLE = "app/pipeline/settle.py"
_DELIVER = "app/pipeline/deliver.py"
_WAITING = "app/pipeline/waiting.py"
_JUDGEMENT = "app/domain/judgement.py"
_CUTTING = "app/readers/cutting.py"
_LOCAL = "app/sources/local.py"
_HEADERS = "app/wire/headers.py"
_LEDGER = "app/stores/sqlite/ledger.py"
_CHUNKS = "app/stores/sqlite/chunks.py"
_TRANSACTIONS = "app/stores/sqlite/transactions.py"

FURTHER = (
    Defect(
        27,
        "resume from where the last chunk began",
        [
            Edit(
                _CHUNKS,
                "record_end, end_offset, end_skip, end_line, end_context",
                "record_end, start_offset, start_skip, start_line, start_context",
            )
        ],
        [
            "tests/contract/test_ledger_chunks.py::test_an_acked_chunk_moves_the_resume_point_to_its_end"
        ],
    ),
    Defect(
        27,
        "resume begins at the start of its block",
        [Edit("app/decoders/resume.py", "_without(batch, skip) if skip else batch", "batch")],
        ["tests/unit/decoders/test_json.py::test_a_resume_reads_only_from_its_cursor_on"],
    ),
    Defect(
        28,
        "checksum over records that were encoded again",
        [
            Edit(
                "app/domain/chunking.py",
                "checksum = Checksum(sha256(records).hexdigest())",
                "o = __import__('orjson')\n"
                "        checksum = Checksum(sha256(o.dumps(o.loads(records))).hexdigest())",
            )
        ],
        [
            "tests/unit/domain/test_chunking.py::test_chunks_hold_every_record_once_in_order_within_the_limits"
        ],
    ),
    Defect(
        29,
        "a retry has a new webhook-id",
        [
            Edit(
                _HEADERS,
                '"webhook-id": message.message_id,',
                '"webhook-id": f"{message.message_id}_{attempt}",',
            )
        ],
        [
            "tests/unit/wire/test_headers.py::test_only_attempt_time_and_signature_differ_between_two_sends"
        ],
    ),
    Defect(
        30,
        "a write is reported before the commit that holds it",
        [
            Edit(
                _TRANSACTIONS,
                '    db.execute("RELEASE one")\n',
                '    db.execute("RELEASE one")\n'
                "    if write.told is not None:\n"
                "        write.told.get_loop().call_soon_threadsafe(write.told.set_result, None)\n",
            )
        ],
        [
            "tests/unit/stores/sqlite/test_group_commit.py::test_nobody_is_answered_while_the_commit_is_under_way"
        ],
    ),
    Defect(
        30,
        "a commit that fails is reported as done",
        [
            Edit(
                _TRANSACTIONS,
                "            write.error = error\n        with suppress",
                "            write.error = None\n        with suppress",
            )
        ],
        [
            "tests/unit/stores/sqlite/test_group_commit.py::test_a_commit_that_fails_fails_everyone_in_it_and_changes_nothing"
        ],
    ),
    Defect(
        31,
        "an open breaker drops the ingestion",
        [
            Edit(
                _RUN,
                "                self._unavailable = outcome\n                return False\n",
                "                return True\n",
            )
        ],
        [
            "tests/unit/pipeline/test_run.py::test_a_receiver_that_is_down_is_waited_for_and_found_again"
        ],
    ),
    Defect(
        31,
        "an open breaker fails the ingestion",
        [
            Edit(
                _RUN,
                "                self._unavailable = outcome\n                return False\n",
                "                await self._stop(State.FAILED, outcome.failure)\n"
                "                return True\n",
            )
        ],
        [
            "tests/unit/pipeline/test_run.py::test_a_receiver_that_is_down_is_waited_for_and_found_again"
        ],
    ),
    Defect(
        32,
        "who was WAITING is not taken up after a restart",
        [
            Edit(
                _LEDGER,
                "     WHERE state IN ('QUEUED', 'RUNNING', 'WAITING', 'COMPLETING')\n"
                "       AND lease_owner IS NOT ?",
                "     WHERE state IN ('QUEUED', 'RUNNING', 'COMPLETING')\n"
                "       AND lease_owner IS NOT ?",
            )
        ],
        [
            "tests/contract/test_ledger.py::test_a_released_ingestion_keeps_its_live_state_for_the_next_claim"
        ],
    ),
    Defect(
        32,
        "the time waited before a restart is forgotten",
        [
            Edit(
                _WAITING,
                "waited_s = (self._clock.now() - since).total_seconds()",
                "waited_s = 0.0 * since.timestamp()",
            )
        ],
        ["tests/unit/pipeline/test_run.py::test_the_time_waited_before_a_restart_counts"],
    ),
    Defect(
        33,
        "the plan of a rewind is in the wrong order",
        [
            Edit(
                _CHUNKS,
                "AND number >= ? ORDER BY number\n",
                "AND number >= ? ORDER BY number DESC\n",
            )
        ],
        [
            "tests/contract/test_ledger_states.py::test_a_rewind_takes_acks_back_and_keeps_what_was_cut"
        ],
    ),
    Defect(
        34,
        "an ACK of another ingestion is believed",
        [
            Edit(
                _JUDGEMENT,
                "    if answer.chunk_id is not None and answer.chunk_id != ref.chunk_id:\n",
                "    if False:\n",
            )
        ],
        [
            "tests/unit/domain/test_judgement.py::test_an_ack_that_contradicts_the_chunk_is_not_believed"
        ],
    ),
    Defect(
        34,
        "a late ACK of a chunk is believed to be that of the completion",
        [
            Edit(
                _JUDGEMENT,
                '        return ", ".join(_contradictions_of_completion(answer, sent))\n',
                '        return ""\n',
            )
        ],
        [
            "tests/unit/domain/test_judgement.py::test_an_ack_of_a_chunk_does_not_acknowledge_the_completion"
        ],
    ),
    Defect(
        34,
        "a receiver that is ahead is believed without proof",
        [
            Edit(
                _JUDGEMENT,
                "if known is not None and answer.chain == known:",
                "if known is not None:",
            )
        ],
        [
            "tests/unit/domain/test_judgement.py::test_a_receiver_that_is_ahead_must_prove_it_with_our_chain"
        ],
    ),
    Defect(
        35,
        "a symbolic link is followed",
        [
            Edit(_LOCAL, "_FILE = os.O_RDONLY | os.O_NOFOLLOW |", "_FILE = os.O_RDONLY |"),
            Edit(
                _LOCAL,
                "os.stat(name, dir_fd=folder, follow_symlinks=False)",
                "os.stat(name, dir_fd=folder)",
            ),
        ],
        ["tests/unit/sources/test_local.py::test_a_link_is_refused_wherever_it_leads"],
    ),
    Defect(
        35,
        "a folder that is a symbolic link is passed through",
        [
            Edit(
                _LOCAL,
                "| os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC",
                "| os.O_DIRECTORY | os.O_CLOEXEC",
            )
        ],
        [
            "tests/unit/sources/test_local.py::test_a_folder_that_is_a_link_is_refused_wherever_it_leads"
        ],
    ),
    Defect(
        36,
        "the scope of a key is not checked",
        [
            Edit(
                "app/api/authentication.py",
                "if not caller.scope.includes(scope):",
                "if False:",
            )
        ],
        ["tests/integration/test_api_keys.py::test_reading_is_not_submitting"],
    ),
    Defect(
        36,
        "everyone cancels what others submitted",
        [
            Edit(
                "app/control/ingestions.py",
                "if submission.caller != caller.name:",
                "if False:",
            )
        ],
        [
            "tests/integration/test_api_keys.py::test_who_submitted_a_file_cancels_it_and_an_admin_does"
        ],
    ),
    Defect(
        37,
        "only the old of two secrets signs",
        [Edit("app/wire/signature.py", "for key in secrets)", "for key in secrets[:1])")],
        [
            "tests/unit/wire/test_signature.py::test_while_secrets_are_replaced_each_side_may_know_either"
        ],
    ),
    Defect(
        38,
        "the source is not compared when it is read",
        [
            Edit(
                _CUTTING,
                "if difference := expected.difference(found, in_attributes=not while_open):",
                "if difference := '':",
            )
        ],
        [
            "tests/unit/readers/test_cutting.py::test_a_file_replaced_between_its_comparison_and_its_opening_gives_no_chunk"
        ],
    ),
    Defect(
        38,
        "the end of a file is no part of its fingerprint",
        [
            Edit(
                _LOCAL,
                "            sample.update(_read_fully(file, SAMPLE_BYTES))\n",
                "",
            )
        ],
        [
            "tests/unit/sources/test_local.py::test_a_byte_changed_at_either_end_is_told_by_the_bytes_alone"
        ],
    ),
    Defect(
        39,
        "sent before it is staged",
        [
            Edit(_DELIVER, "await self._ledger.stage(lease, ref)\n", "unstaged = True\n"),
            Edit(
                _DELIVER,
                "        cut_end = resume.number + len(resume.planned)\n",
                "        cut_end = resume.number + len(resume.planned)\n        unstaged = False\n",
            ),
            Edit(
                _DELIVER,
                "            # Invariant 1: progress moves only here, and only after the ACK.\n",
                "            if unstaged:\n"
                "                await self._ledger.stage(lease, ref)\n"
                "            unstaged = False\n",
            ),
        ],
        [
            "tests/unit/pipeline/test_run.py::test_every_chunk_is_stored_as_the_next_one_before_it_is_sent"
        ],
    ),
    Defect(
        40,
        "back-pressure uses attempts up",
        [Edit(_SETTLE, "        course.counted -= 1\n", "")],
        [
            "tests/unit/pipeline/test_run.py::test_who_is_asked_for_time_has_all_its_attempts_afterwards"
        ],
    ),
    Defect(
        41,
        "records that are missing at the end are not missed",
        [
            Edit(
                "app/stores/rules.py",
                "    if records_read != progress.records_accounted:\n",
                "    if False:\n",
            )
        ],
        ["tests/contract/test_ledger_states.py::test_a_source_that_does_not_balance_is_refused"],
    ),
    Defect(
        42,
        "a chunk that arrives damaged is sent for ever",
        [
            Edit(
                _SETTLE,
                '                    course.damaged += failure.code == "CHECKSUM_MISMATCH"\n',
                "",
            )
        ],
        [
            "tests/unit/pipeline/test_run.py::test_a_chunk_that_always_arrives_damaged_is_shown_to_a_person"
        ],
    ),
    Defect(
        43,
        "a drain gives up the chunk in flight",
        [
            Edit(
                "app/pipeline/supervisor.py",
                "                elif running.run.rest.resting:\n"
                "                    running.cancel()\n"
                "            tasks",
                "                else:\n                    running.cancel()\n            tasks",
            )
        ],
        [
            "tests/unit/pipeline/test_supervisor.py::test_a_drain_settles_the_chunk_in_flight_and_stops_those_that_wait"
        ],
    ),
    Defect(
        44,
        "a message is repeated without a look at the lease",
        [
            Edit(
                _SETTLE,
                "            while not self._ledger.is_sure(lease):\n"
                "                await self._ledger.renew()\n",
                "",
            )
        ],
        [
            "tests/unit/pipeline/test_run_interrupted.py::test_who_lost_its_lease_during_a_pause_does_not_repeat_its_message"
        ],
    ),
)
