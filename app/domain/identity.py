"""Names that stay the same for ever: files, ingestions, chunks, and the chain over them."""

from hashlib import sha256
from typing import NewType

FileId = NewType("FileId", str)
IngestionId = NewType("IngestionId", str)
Checksum = NewType("Checksum", str)
"""64 lower-case hex digits of a SHA-256."""

FIRST_VERSION = "resume"
"""Version of the first ingestion of a file. Every re-ingestion has a stored unique one."""


def file_id_of(file_path: str, file_type: str) -> FileId:
    """Name a source for ever. Contract 1.1."""
    return FileId(_hex(f"{file_path}|{file_type}"))


def ingestion_id_of(file_id: FileId, version: str) -> IngestionId:
    """Name one execution over one file. Contract 1.2."""
    return IngestionId(_hex(file_id + version))


def chunk_id_of(ingestion_id: str, number: int) -> str:
    """Name one chunk of an ingestion. Contract 1.4."""
    return f"{ingestion_id}:{number}"


def chain_start(ingestion_id: str) -> Checksum:
    """Return ``chain[-1]``, the chain before any chunk. Contract 6.6."""
    return Checksum(_hex(f"cj1-chain\n{ingestion_id}"))


def chain_next(chain: str, checksum: str) -> Checksum:
    """Return the chain after a chunk with this checksum. Contract 6.6."""
    return Checksum(_hex(f"{chain}\n{checksum}"))


def _hex(text: str) -> str:
    return sha256(text.encode()).hexdigest()
