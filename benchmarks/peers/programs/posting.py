"""How the peers in Python POST: requests, one kept connection."""

import json

import requests  # type: ignore[import-untyped,unused-ignore]

from benchmarks.peers.programs.reading import Record


class Poster:
    """One kept connection."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False

    def post(self, chunk: list[Record], key: str | None = None) -> int:
        """POST records; return their number once they are acknowledged."""
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        # Written out: with `json=` requests takes another encoder where one happens to be there.
        # dlt takes texts that look like times for times; nobody else needs the default.
        body = json.dumps({"records": chunk}, default=str).encode()
        response = self._session.post(self._url, data=body, headers=headers, timeout=60)
        response.raise_for_status()
        if response.json()["ack"] is not True:
            raise RuntimeError("not acknowledged")
        return len(chunk)
