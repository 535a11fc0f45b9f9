"""What a person sees: an ingestion in full, a list of them, a bar that moves."""

import sys
import time
from collections.abc import Callable, Iterable

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from app.api.views import DeadLetterView, IngestionView
from app.domain.ingestion import LIVE, State

POLL_S = 0.25
PLAIN_S = 5.0
"""Without a terminal, a line this often is enough for a log."""

_COLOURS = {
    State.COMPLETED: "green",
    State.RUNNING: "cyan",
    State.COMPLETING: "cyan",
    State.WAITING: "yellow",
    State.PAUSED: "yellow",
    State.FAILED: "red",
    State.QUARANTINED: "red",
    State.ABORTED: "magenta",
}
UNITS = ("B", "kB", "MB", "GB", "TB")


def details(view: IngestionView) -> Table:
    """Return an ingestion as a table of facts."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, text in _facts(view):
        table.add_row(name, text if isinstance(text, Text) else Text(printable(text)))
    return table


def listing(views: Iterable[IngestionView]) -> Table:
    """Return ingestions as rows, the newest first."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("INGESTION", "STATE", "DONE", "RECORDS", "FILE"):
        table.add_column(name, justify="right" if name in ("DONE", "RECORDS") else "left")
    for view in views:
        table.add_row(
            Text(view.ingestion_id[:12]),
            _state(view.state),
            Text(f"{int(view.progress.fraction * 100)}%"),  # no 100 % before it is whole
            Text(f"{view.counts.delivered:,}"),
            Text(printable(view.file_path), overflow="ellipsis"),
        )
    return table


def refusals(letters: Iterable[DeadLetterView]) -> Table:
    """Return refused records as rows, in the order of the source."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("RECORD", "CODE", "PATH", "MESSAGE"):
        table.add_column(name, justify="right" if name == "RECORD" else "left", overflow="fold")
    for one in letters:
        said = (printable(text) for text in (one.code, one.path, one.message))
        table.add_row(str(one.record), *map(Text, said))
    return table


def follow(look: Callable[[], IngestionView], *, quiet: bool = False) -> IngestionView:
    """Look again and again until the ingestion stops; show how far it is. Return its end."""
    if quiet:
        return _wait(look, lambda _: None)
    if not sys.stderr.isatty():
        return _wait(look, _PlainLines())
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[records]:>12,} records"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, expand=True) as progress:
        task = progress.add_task("", records=0, total=None)

        def moved(view: IngestionView) -> None:
            progress.update(
                task,
                description=f"[{_COLOURS.get(view.state, 'white')}]{view.state.value:<10}",
                completed=view.progress.position,
                total=view.progress.size,
                records=view.counts.delivered,
            )

        return _wait(look, moved)


def ending(view: IngestionView) -> str:
    """Say in a few words how an ingestion ended, or stands."""
    line = f"{view.state.value}: {view.counts.delivered:,} records in {view.chunks_acked:,} chunks"
    if refused := view.counts.rejected_by_receiver:
        line += f"\n{refused:,} of them refused by the receiver: {_to_see(view)}"
    if view.error is not None:
        line += "\n" + printable(f"{view.error.code}: {view.error.message}")
        line += "\n  " + printable(view.error.remedy) if view.error.remedy else ""
    return line


def printable(text: str) -> str:
    """Escape what would move the cursor, colour the terminal, or turn the text around."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def size(count: float) -> str:
    """Return a number of bytes for a person: ``48.9 MB``."""
    unit = 0
    while count >= 1000 and unit < len(UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.0f} {UNITS[unit]}" if unit == 0 else f"{count:.1f} {UNITS[unit]}"


class _PlainLines:
    """A line when the state changes, and now and then."""

    def __init__(self) -> None:
        self._state: State | None = None
        self._at = 0.0

    def __call__(self, view: IngestionView) -> None:
        if view.state is self._state and time.monotonic() - self._at < PLAIN_S:
            return
        self._state, self._at = view.state, time.monotonic()
        reason = f" {view.waiting.code}: {view.waiting.message}" if view.waiting else ""
        sys.stderr.write(
            f"{view.state.value} {view.progress.fraction:.1%} "
            f"{view.counts.delivered} records{printable(reason)}\n"
        )
        sys.stderr.flush()


def _wait(
    look: Callable[[], IngestionView], moved: Callable[[IngestionView], None]
) -> IngestionView:
    while True:
        view = look()
        moved(view)
        if view.state not in LIVE:
            return view
        time.sleep(POLL_S)


def _facts(view: IngestionView) -> Iterable[tuple[str, str | Text]]:
    yield "ingestion", view.ingestion_id
    yield "state", _state(view.state)
    yield "file", f"{view.file_path} ({view.file_type}, {size(view.progress.size)})"
    yield "version", view.version
    yield "receiver", view.callback_url
    if view.detection:
        yield "detected", ", ".join(f"{key} {found!r}" for key, found in view.detection.items())
    yield "progress", f"{view.progress.fraction:.1%} of the source's bytes"
    yield "records", f"{view.counts.delivered:,} delivered in {view.chunks_acked:,} chunks"
    if refused := view.counts.rejected_by_receiver:
        yield "refused", f"{refused:,} of them by the receiver: {_to_see(view)}"
    if view.progress.bytes_per_s:
        records_per_s = view.progress.records_per_s or 0
        yield "rate", f"{size(view.progress.bytes_per_s)}/s, {records_per_s:,.0f} records/s"
    if view.progress.eta_s is not None:
        yield "left", f"{view.progress.eta_s:,.0f} s"
    if view.progress.ack_age_s is not None:
        yield "last ack", f"{view.progress.ack_age_s:,.0f} s ago"
    if view.waiting is not None:
        yield "waiting", f"{view.waiting.code}: {view.waiting.message}"
    if view.error is not None:
        yield "error", Text(printable(f"{view.error.code}: {view.error.message}"), style="red")
        if view.error.remedy:
            yield "remedy", view.error.remedy
        yield "resumable", "yes" if view.error.resumable else "no"
    yield "chain", view.chain


def _to_see(view: IngestionView) -> str:
    return f"ackline dead-letters {view.ingestion_id[:12]}"


def _state(state: State) -> Text:
    return Text(state.value, style=_COLOURS.get(state, ""))
