"""The receiver contract as code: headers, bodies, signature, and how an answer is read.

The contract itself is ``docs/receiver-contract.md``; clause numbers in here are its own.
Everything is pure: no clock, no I/O. Most of it serves the sender; `receiving` is what a
receiver written in Python needs.
"""

from app.wire.bodies import chunk_message, completed_message, stopped_message
from app.wire.records import dead_letters

__all__ = ["chunk_message", "completed_message", "dead_letters", "stopped_message"]
