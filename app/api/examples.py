"""Worked examples of the API document. A test holds each against its schema."""

from typing import TypeAlias

from pydantic import JsonValue

Examples: TypeAlias = dict[str, dict[str, JsonValue]]

INGESTION_ID = "1dd2fdf54e5d93e9a2d6b5ee1b34ef01d0bb0ef3fba5ff4ee7f2bd2ab7a95c48"
_FILE_ID = "0f3c2b1a4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8"
_CHAIN = "6ce62ffffa9624c24f53a2e05a68a1df8a1e98eed1b18ac51b008103168e3a6f"
_PATH = f"/api/ingestions/{INGESTION_ID}"
_LINKS: JsonValue = {
    "self": _PATH,
    "dead_letters": f"{_PATH}/dead-letters",
    "cancel": f"{_PATH}/cancel",
}

REQUESTS: Examples = {
    "json": {
        "summary": "A JSON file, 1,000 records a chunk",
        "value": {
            "file_path": "/srv/imports/products.json",
            "file_type": "json",
            "callback_url": "http://127.0.0.1:9000/ingest",
            "chunk_size_by_records": 1000,
            "chunk_size_by_memory": 0,
            "re_ingestion": False,
        },
    },
    "csv": {
        "summary": "A CSV file whose dialect is known, at most 1 MiB a chunk",
        "value": {
            "file_path": "/srv/imports/products.csv",
            "file_type": "csv",
            "callback_url": "https://receiver.example/ingest",
            "chunk_size_by_memory": 1048576,
            "options": {"delimiter": ";", "quote": '"', "encoding": "windows-1252"},
            "metadata": {"class": "Product"},
        },
    },
    "again": {
        "summary": "The same file again, as a new version",
        "value": {
            "file_path": "/srv/imports/products.json",
            "file_type": "json",
            "callback_url": "http://127.0.0.1:9000/ingest",
            "re_ingestion": True,
        },
    },
}

ACCEPTED: Examples = {
    "started": {
        "summary": "A new ingestion",
        "value": {"status": "STARTED", "ingestion_id": INGESTION_ID, "links": _LINKS},
    },
    "resumed": {
        "summary": "One that had stopped goes on from its last acknowledged chunk",
        "value": {"status": "RESUMED", "ingestion_id": INGESTION_ID, "links": _LINKS},
    },
    "running": {
        "summary": "It is being worked on already",
        "value": {"status": "ALREADY_RUNNING", "ingestion_id": INGESTION_ID, "links": _LINKS},
    },
}

ALREADY_COMPLETED: Examples = {
    "completed": {
        "summary": "These very bytes were delivered before",
        "value": {"status": "ALREADY_COMPLETED", "ingestion_id": INGESTION_ID, "links": _LINKS},
    },
}

_RUNNING: dict[str, JsonValue] = {
    "ingestion_id": INGESTION_ID,
    "file_id": _FILE_ID,
    "version": "resume",
    "state": "RUNNING",
    "file_path": "/srv/imports/products.json",
    "file_type": "json",
    "callback_url": "http://127.0.0.1:9000/ingest",
    "chunk_size_by_records": 1000,
    "chunk_size_by_memory": 67108864,
    "options": {
        "record_path": None,
        "delimiter": None,
        "quote": None,
        "encoding": None,
        "sheet": None,
        "header_row": None,
        "canonical": True,
        "numbers": "exact",
        "duplicate_keys": "last",
    },
    "detection": {"record_path": "$.products"},
    "metadata": {"class": "Product"},
    "counts": {
        "read": 57000,
        "delivered": 57000,
        "filtered": 0,
        "dead_lettered": 0,
        "rejected_by_receiver": 2,
    },
    "records_in_source": None,
    "chunks_acked": 57,
    "unsafe_numbers": 0,
    "rewinds": 0,
    "chain": _CHAIN,
    "progress": {
        "position": 28500000,
        "size": 64227500,
        "fraction": 0.44373,
        "bytes_per_s": 9500000.0,
        "records_per_s": 19000.0,
        "eta_s": 3.76,
        "ack_age_s": 0.05,
    },
    "error": None,
    "waiting": None,
    "cancel_requested": False,
    "created_at": "2026-03-01T09:30:00Z",
    "updated_at": "2026-03-01T09:30:03.1Z",
    "started_at": "2026-03-01T09:30:00.1Z",
    "acked_at": "2026-03-01T09:30:03.1Z",
    "finished_at": None,
    "links": _LINKS,
}

INGESTIONS: Examples = {
    "running": {"summary": "Chunks are being delivered", "value": _RUNNING},
    "waiting": {
        "summary": "The receiver is down; the service probes it by itself",
        "value": _RUNNING
        | {
            "state": "WAITING",
            "progress": {
                "position": 28500000,
                "size": 64227500,
                "fraction": 0.44373,
                "bytes_per_s": 9500000.0,
                "records_per_s": 19000.0,
                "eta_s": None,
                "ack_age_s": 731.2,
            },
            "waiting": {
                "since": "2026-03-01T09:31:40Z",
                "code": "CONNECTION_FAILED",
                "message": "connection refused",
                "remedy": "Start the receiver, or check its address.",
            },
        },
    },
    "failed": {
        "summary": "The file is damaged; every record before the place was delivered",
        "value": _RUNNING
        | {
            "state": "FAILED",
            "progress": {
                "position": 28500000,
                "size": 64227500,
                "fraction": 0.44373,
                "bytes_per_s": 9500000.0,
                "records_per_s": 19000.0,
                "eta_s": None,
                "ack_age_s": None,
            },
            "error": {
                "code": "MALFORMED",
                "message": "a comma or the end of the array was expected",
                "remedy": "Repair the file and ingest it as a new version.",
                "resumable": False,
                "place": {"byte": 28500412, "line": 1, "record": 57000, "cell": None},
            },
        },
    },
}

CANCELLED: Examples = {
    "asked": {
        "summary": "The chunk in flight is settled first",
        "value": _RUNNING | {"cancel_requested": True},
    },
}

LISTS: Examples = {
    "first": {
        "summary": "The newest one, and where the next is",
        "value": {
            "ingestions": [_RUNNING],
            "next": "/api/ingestions?limit=1&cursor=MTcwOTI4NTQwMA",
        },
    },
}

DEAD_LETTERS: Examples = {
    "refused": {
        "summary": "What the receiver refused, and why",
        "value": {
            "dead_letters": [
                {
                    "record": 1017,
                    "chunk_number": 1,
                    "code": "INVALID_GTIN",
                    "message": "check digit",
                    "path": "/ean",
                    "retryable": False,
                    "content": '{"ean":4006381333932,"price":20.00,"sku":"00042"}',
                }
            ],
            "next": None,
        },
    },
}

LIVE: Examples = {"ok": {"summary": "It lives", "value": {"status": "ok"}}}
READY: Examples = {"ready": {"summary": "It takes work", "value": {"status": "ready"}}}
