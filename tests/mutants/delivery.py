"""Seeded defects in what is sent when, what is believed, and what completes."""

from tests.mutants.planting import Defect, Edit

_DELIVER = "app/pipeline/deliver.py"
_SETTLE = "app/pipeline/settle.py"
_RUN = "app/pipeline/run.py"
_JUDGEMENT = "app/domain/judgement.py"
_CHUNKING = "app/domain/chunking.py"
_ANSWER = "app/wire/answer.py"

_COMMIT = """await self._ledger.commit(
                lease, ref, dead_letters=dead_letters, then_stage=then_stage, pause=pause
            )"""
_ACKED = "if accepted and answer.ack is True:"
_REPLACE = '__import__("dataclasses").replace'

DELIVERY = (
    Defect(
        1,
        "commit before ack",
        [
            Edit(
                _DELIVER,
                "verdict, sends = await self._settler.settle(",
                "await self._ledger.commit(lease, ref)\n"
                "            verdict, sends = await self._settler.settle(",
            ),
            Edit(
                _DELIVER,
                _COMMIT,
                "if then_stage is not None:\n"
                "                await self._ledger.stage(lease, then_stage)",
            ),
        ],
        [
            "tests/unit/pipeline/test_run.py::test_wrong_credentials_pause_and_a_new_submission_goes_on",
            "tests/unit/pipeline/test_run_interrupted.py::test_who_lost_its_lease_stops_without_a_word",
        ],
    ),
    Defect(
        2,
        "truthy ack",
        [
            Edit(
                _ANSWER,
                "ack=ack if isinstance(ack, bool) else None",
                "ack=None if ack is None else bool(ack)",
            )
        ],
        ["tests/unit/wire/test_answer.py::test_what_is_not_the_json_boolean_is_not_an_ack"],
    ),
    Defect(
        2,
        'truthy ack: also "true"',
        [
            Edit(
                _ANSWER,
                "ack=ack if isinstance(ack, bool) else None",
                'ack=str(ack).lower() == "true" if isinstance(ack, bool | str) else None',
            )
        ],
        ["tests/unit/wire/test_answer.py::test_what_is_not_the_json_boolean_is_not_an_ack"],
    ),
    Defect(
        3,
        "status-only ack",
        [Edit(_JUDGEMENT, _ACKED, "if accepted:")],
        ["tests/unit/domain/test_judgement.py::test_every_other_answer_has_its_consequence"],
    ),
    Defect(
        3,
        "status-only ack: where the answer does not say otherwise",
        [
            Edit(
                _JUDGEMENT,
                _ACKED,
                "if accepted and (answer.ack or (answer.ack is None and not answer.error)):",
            )
        ],
        ["tests/unit/domain/test_judgement.py::test_every_other_answer_has_its_consequence"],
    ),
    Defect(
        3,
        "ack without a look at the status",
        [Edit(_JUDGEMENT, _ACKED, "if answer.ack is True:")],
        ["tests/unit/domain/test_judgement.py::test_every_other_answer_has_its_consequence"],
    ),
    Defect(
        6,
        "skipping a chunk when retries run out",
        [
            Edit(
                _SETTLE,
                "after_s, unavailable = self._ran_out(course, failure, alive=alive)",
                "return Commit(), course.sends",
            )
        ],
        [
            "tests/unit/pipeline/test_run.py::test_a_receiver_that_is_down_is_waited_for_and_found_again"
        ],
    ),
    Defect(
        6,
        "skipping a chunk that is refused for good",
        [
            Edit(
                _JUDGEMENT,
                "        if status == 410:\n",
                "        if status == 422:\n            return Commit()\n"
                "        if status == 410:\n",
            )
        ],
        ["tests/unit/domain/test_judgement.py::test_every_other_answer_has_its_consequence"],
    ),
    Defect(
        7,
        "re-cutting with new sizes on resume",
        [Edit(_RUN, "resume=point,", f"resume={_REPLACE}(point, planned=()),")],
        [
            "tests/unit/pipeline/test_run.py::test_a_chunk_that_was_sent_keeps_its_bytes_when_other_sizes_are_asked_for"
        ],
    ),
    Defect(
        7,
        "re-cutting with new sizes on resume: and nobody compares",
        [
            Edit(
                _CHUNKING,
                "need = self._planned[0].record_end - self.records_taken",
                "need = self._records_max or left",
            ),
            Edit(
                _CHUNKING, "if planned is not None and planned.checksum != checksum:", "if False:"
            ),
        ],
        [
            "tests/unit/domain/test_chunking.py::test_what_was_cut_before_is_cut_there_again_whatever_the_limits_now_say"
        ],
    ),
    Defect(
        8,
        "resume without checking the checksum",
        [Edit(_CHUNKING, "if planned is not None and planned.checksum != checksum:", "if False:")],
        [
            "tests/unit/domain/test_chunking.py::test_a_source_that_changed_is_noticed_before_the_chunk_leaves"
        ],
    ),
    Defect(
        10,
        "two sends in flight: of one chunk",
        [
            Edit(
                _SETTLE,
                "reply = await self._receiver.post(message, attempt=course.sends)",
                "reply, _ = await __import__('asyncio').gather("
                "*[self._receiver.post(message, attempt=course.sends) for _ in (1, 2)])",
            )
        ],
        ["tests/unit/pipeline/test_run.py::test_a_lost_ack_is_sent_again_with_the_same_bytes"],
    ),
    Defect(
        10,
        "two sends in flight: of two runs of one ingestion",
        [
            Edit(
                "app/pipeline/supervisor.py",
                "            if before is not None:\n",
                "            if False:\n",
            )
        ],
        [
            "tests/unit/pipeline/test_supervisor.py::test_what_is_submitted_again_during_its_farewell_waits_until_that_was_said"
        ],
    ),
    Defect(
        10,
        "two sends in flight: the one that took too long goes on",
        [
            Edit(
                "app/receiver/transport.py",
                "if not self.reusable:",
                "if not self.reusable and answer.complete:",
            )
        ],
        ["tests/unit/receiver/test_http.py::test_one_deadline_is_for_the_whole_exchange"],
    ),
    Defect(
        11,
        "COMPLETED before the last ack",
        [
            Edit(
                _RUN,
                "accounted = ingestion.progress.records_accounted\n",
                "accounted = ingestion.progress.records_accounted\n"
                "        if point.planned:\n"
                f"            early = {_REPLACE}(ingestion, records_read=accounted)\n"
                "            await crew.receiver.post(crew.messages.completed(early), attempt=1)\n",
            )
        ],
        [
            "tests/unit/pipeline/test_run.py::test_a_receiver_that_lost_its_state_gets_the_same_chunks_again"
        ],
    ),
    Defect(
        12,
        "total from memory",
        [
            Edit(
                _DELIVER,
                _COMMIT,
                f"{_COMMIT}\n            self.total = getattr(self, 'total', 0) + ref.record_count",
            ),
            Edit(
                _RUN,
                "            crew.messages.completed(ingestion),\n",
                f"            crew.messages.completed({_REPLACE}(ingestion, progress={_REPLACE}(\n"
                "                ingestion.progress,\n"
                "                records_delivered=getattr(self._delivery, 'total', 0)))),\n",
            ),
        ],
        [
            "tests/unit/pipeline/test_run_interrupted.py::test_a_crash_after_any_message_resumes_with_the_same_bytes"
        ],
    ),
    Defect(
        13,
        "COMPLETED stored before its ack",
        [
            Edit(
                _RUN,
                "        verdict, _ = await self._settler.settle(\n",
                "        await crew.ledger.move(lease, State.COMPLETED)\n"
                "        verdict, _ = await self._settler.settle(\n",
            ),
            Edit(_RUN, "                await crew.ledger.move(lease, State.COMPLETED)\n", ""),
        ],
        [
            "tests/unit/pipeline/test_run_interrupted.py::test_a_crash_after_any_message_resumes_with_the_same_bytes",
            "tests/unit/pipeline/test_run.py::test_a_receiver_that_misses_chunks_at_the_end_gets_them",
        ],
    ),
    Defect(
        13,
        "COMPLETED stored whatever is answered",
        [
            Edit(
                _RUN,
                "            rest=self.rest,\n        )\n        match verdict:\n",
                "            rest=self.rest,\n        )\n        verdict = Commit()\n"
                "        match verdict:\n",
            )
        ],
        [
            "tests/unit/pipeline/test_run.py::test_a_receiver_that_misses_chunks_at_the_end_gets_them"
        ],
    ),
)
