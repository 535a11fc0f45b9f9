"""Start in the middle: pass over the records that were delivered before."""

from collections.abc import Iterator
from dataclasses import replace

from app.domain.chunk import Batch
from app.domain.errors import DecodeError


def from_cursor(batches: Iterator[Batch], skip: int) -> Iterator[Batch]:
    """Leave out the first ``skip`` records, and number the record of an error.

    An error whose place is in a record is about the next one: all records before it were
    yielded. Its number counts from the cursor.
    """
    given = 0
    try:
        for batch in batches:
            count = len(batch.records)
            if skip >= count:
                skip -= count
                continue
            fresh = _without(batch, skip) if skip else batch
            skip = 0
            given += len(fresh.records)
            yield fresh
    except DecodeError as error:
        if error.place is not None and error.place.record is not None:
            error.place = replace(error.place, record=given)
        raise


def _without(batch: Batch, skip: int) -> Batch:
    return Batch(
        records=batch.records[skip:],
        start=replace(batch.start, skip=batch.start.skip + skip),
        position=batch.position,
        unsafe={index - skip: count for index, count in batch.unsafe.items() if index >= skip},
    )
