"""Seeded defects where bytes come in and go out: decoders, receiver, signature."""

from tests.mutants.planting import Defect, Edit

_JUDGEMENT = "app/domain/judgement.py"
_CANONICAL = "app/domain/canonical.py"
_ANSWER = "app/wire/answer.py"
_HEADERS = "app/wire/headers.py"
_HTTP = "app/receiver/http.py"
_TRANSPORT = "app/receiver/transport.py"
_RESPONSE = "app/receiver/response.py"
_PACKAGE = "app/decoders/xlsx/package.py"

BORDERS = (
    Defect(
        14,
        "following redirects",
        [
            Edit(
                _HTTP,
                "        read = partial(\n            read_answer,\n",
                "        while where := dict(received.headers).get(b'Location'):\n"
                "            target = _target(where.decode())\n"
                "            received = await self._transport.exchange(\n"
                "                target.endpoint, _head(target, headers),\n"
                "                message.content, until=until)\n"
                "        read = partial(\n            read_answer,\n",
            )
        ],
        ["tests/integration/test_receiver_http.py::test_a_redirect_is_never_followed"],
    ),
    Defect(
        15,
        "unlimited answer read",
        [
            Edit(_RESPONSE, "if len(self.body) + len(part) > ANSWER_BYTES_MAX:", "if False:"),
            Edit(_RESPONSE, "if self._wire_bytes > WIRE_BYTES_MAX:", "if False:"),
        ],
        ["tests/unit/receiver/test_response.py::test_the_limits_are_exact"],
    ),
    Defect(
        15,
        "unlimited answer read: its headers",
        [
            Edit(_RESPONSE, "if self._head_bytes > HEAD_BYTES_MAX:", "if False:"),
            Edit(
                _RESPONSE,
                "if not self._in_body and self._wire_bytes > HEAD_BYTES_MAX:",
                "if False:",
            ),
        ],
        ["tests/unit/receiver/test_response.py::test_the_limits_are_exact"],
    ),
    Defect(
        16,
        "no deadline at all",
        [Edit(_TRANSPORT, "loop.call_at(until, ", "loop.call_at(until + 3600, ")],
        ["tests/unit/receiver/test_http.py::test_one_deadline_is_for_the_whole_exchange"],
    ),
    Defect(
        16,
        "per-read timeouts only",
        [
            Edit(_TRANSPORT, "loop.call_at(until, ", "loop.call_at(until + 3600, "),
            Edit(
                _TRANSPORT,
                "            await self._done\n",
                "            heard = -1\n"
                "            while not self._done.done():\n"
                "                if heard == answer._wire_bytes:\n"
                "                    raise TimeoutError\n"
                "                heard = answer._wire_bytes\n"
                "                await asyncio.wait([self._done], timeout=0.2)\n"
                "            await self._done\n",
            ),
        ],
        [
            "tests/unit/receiver/test_http.py::test_one_deadline_is_for_the_whole_exchange",
            "tests/integration/test_receiver_http.py::test_a_receiver_at_fault_gives_no_answer_and_is_sent_to_once",
        ],
    ),
    Defect(
        17,
        "ignoring Retry-After",
        [
            Edit(
                _JUDGEMENT,
                "asked = min(answer.retry_after_s or 0.0, RETRY_AFTER_S_MAX)",
                "asked = 0.0",
            )
        ],
        [
            "tests/unit/domain/test_judgement.py::test_back_pressure_waits_as_asked_and_is_never_an_attempt"
        ],
    ),
    Defect(
        17,
        "ignoring Retry-After: where it is a date",
        [
            Edit(
                _ANSWER,
                "    until = _http_date(text)\n    if until is None:\n",
                "    until = _http_date(text)\n    if True:\n",
            )
        ],
        ["tests/unit/wire/test_answer.py::test_retry_after_is_read_when_it_makes_sense"],
    ),
    Defect(
        17,
        "obeying an absurd Retry-After",
        [
            Edit(
                _JUDGEMENT,
                "asked = min(answer.retry_after_s or 0.0, RETRY_AFTER_S_MAX)",
                "asked = answer.retry_after_s or 0.0",
            )
        ],
        [
            "tests/unit/domain/test_judgement.py::test_back_pressure_waits_as_asked_and_is_never_an_attempt"
        ],
    ),
    Defect(
        18,
        "floats for numbers: for long fractions",
        [
            Edit(
                _CANONICAL,
                "            return float(token)\n        return self._verbatim(token)",
                "            return float(token)\n        return float(token)",
            )
        ],
        ["tests/unit/domain/test_canonical.py::test_an_unsafe_number_is_copied_and_counted"],
    ),
    Defect(
        18,
        "floats for numbers: for long integers",
        [
            Edit(
                _CANONICAL,
                "return int(token) if is_safe_integer(token) else self._verbatim(token)",
                "return int(token) if is_safe_integer(token) else float(token)",
            )
        ],
        ["tests/unit/domain/test_canonical.py::test_an_unsafe_number_is_copied_and_counted"],
    ),
    Defect(
        18,
        "floats for numbers: whatever the fast path meets",
        [
            Edit(
                "app/decoders/json/exactness.py", "    return not (\n", "    return True or not (\n"
            )
        ],
        ["tests/unit/decoders/test_exactness.py"],
    ),
    Defect(
        19,
        "truncated stream accepted: inside a workbook",
        [
            Edit(
                _PACKAGE,
                "        with _translated(self.name):\n"
                "            block = self._stream.read(BLOCK_BYTES)\n",
                "        try:\n"
                "            block = self._stream.read(BLOCK_BYTES)\n"
                "        except (EOFError, zipfile.BadZipFile):\n"
                '            block = b""\n',
            ),
            Edit(
                "app/decoders/xlsx/xml.py",
                'self._parse(b"", final=True)',
                'self._parse(b"", final=False)',
            ),
        ],
        [
            "tests/unit/decoders/test_xlsx_container.py::test_a_stream_that_was_cut_before_it_was_packed_never_ends_well"
        ],
        note="gz and zst are not read yet: the nearest stream is the one inside a workbook",
    ),
    Defect(
        19,
        "truncated source accepted: the end of what could be decoded is the end",
        [
            Edit(
                "app/readers/cutting.py",
                "record=chunker.records_taken)\n        raise\n",
                "record=chunker.records_taken)\n",
            )
        ],
        [
            "tests/unit/pipeline/test_run.py::test_the_records_before_a_bad_place_arrive_then_it_fails_and_says_where"
        ],
    ),
    Defect(
        19,
        "truncated source accepted: an array that is not closed",
        [
            Edit(
                "app/decoders/json/elements.py",
                'DecodeError(DecodeCode.TRUNCATED, "the file ends before the array does")\n'
                "                return self._failed(window, error, len(window.data))",
                "None\n"
                "                return _Stretch(end=len(window.data), closed=True, error=error)",
            )
        ],
        [
            "tests/unit/decoders/test_json_refusals.py::test_cut_at_any_byte_it_gives_a_true_prefix_and_says_so"
        ],
    ),
    Defect(
        20,
        "wrong root = 0 records",
        [Edit("app/decoders/json/walk.py", "        if not matched:\n", "        if False:\n")],
        ["tests/unit/decoders/test_json.py::test_a_path_to_no_array_is_never_an_empty_success"],
    ),
    Defect(
        21,
        "duplicate headers swallowed: in CSV",
        [Edit("app/decoders/csv/columns.py", "        if twice:\n", "        if False:\n")],
        ["tests/unit/decoders/test_csv_rows.py::test_equal_names_are_an_error_that_names_them"],
    ),
    Defect(
        21,
        "duplicate headers swallowed: in workbooks",
        [
            Edit(
                "app/decoders/xlsx/records.py",
                "                if name in found:\n",
                "                if False:\n",
            )
        ],
        [
            "tests/unit/decoders/test_xlsx.py::test_a_duplicate_header_is_refused_naming_both_columns"
        ],
    ),
    Defect(
        25,
        "egress check only at submit",
        [Edit(_HTTP, "addresses=egress.addresses", "addresses=egress._resolve")],
        [
            "tests/integration/test_receiver_reach.py::test_a_name_that_turns_bad_after_the_submission_is_blocked"
        ],
    ),
    Defect(
        25,
        "egress check of a name that is then looked up again",
        [Edit(_TRANSPORT, "self._dial(address, endpoint)", "self._dial(endpoint.host, endpoint)")],
        [
            "tests/integration/test_receiver_reach.py::test_the_checked_address_is_connected_to_under_the_callbacks_name"
        ],
    ),
    Defect(
        25,
        "egress check of the first address only",
        [
            Edit(
                "app/receiver/egress.py",
                "            for address in addresses:\n",
                "            for address in addresses[:1]:\n",
            )
        ],
        [
            "tests/unit/receiver/test_egress.py::test_an_address_that_is_not_public_is_refused_by_number_and_by_name"
        ],
    ),
    Defect(
        26,
        "signing a re-serialised body",
        [
            Edit(
                _HEADERS,
                "message.message_id, timestamp_s, message.content, secrets\n",
                "message.message_id,\n"
                "            timestamp_s,\n"
                "            [(o := __import__('orjson')).dumps(o.loads(message.body))],\n"
                "            secrets,\n",
            )
        ],
        [
            "tests/unit/wire/test_headers.py::test_a_signature_is_over_the_bytes_that_are_sent_whatever_they_mean"
        ],
    ),
    Defect(
        26,
        "signing a re-serialised body: with the white space of the standard library",
        [
            Edit(
                _HEADERS,
                "message.message_id, timestamp_s, message.content, secrets\n",
                "message.message_id,\n"
                "            timestamp_s,\n"
                "            [(j := __import__('json')).dumps(j.loads(message.body)).encode()],\n"
                "            secrets,\n",
            )
        ],
        [
            "tests/unit/wire/test_headers.py::test_a_signature_is_over_the_bytes_that_are_sent_whatever_they_mean"
        ],
    ),
)
