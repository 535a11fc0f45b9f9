"""The command line: one file for each command, all of them clients of the HTTP API.

Exit status: 0 done · 1 the ingestion stopped before it was complete · 2 wrong usage ·
3 the service cannot be reached · 4 the service refused · 130 interrupted.
"""

import sys
from typing import Annotated

import typer

from app import __version__
from app.cli import cancel, demo, generate, ingest, key, ls, receiver, status
from app.cli import serve as serve
from app.cli.service import Refused, Unreachable
from app.decoders.native import is_compiled

EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_REFUSED = 4
EXIT_INTERRUPTED = 130


def _show_version(asked: bool) -> None:
    if asked:
        loops = "compiled" if is_compiled() else "in Python, no C compiler was there to build them"
        typer.echo(f"ackline {__version__} (text decoders {loops})")
        raise typer.Exit


cli = typer.Typer(
    name="ackline",
    help="Deliver a big file to an HTTP receiver, chunk by acknowledged chunk.",
    epilog="Exit status: 0 done, 1 stopped before it was complete, 2 wrong usage, "
    "3 service not reachable, 4 refused by the service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (serve, receiver, key, ingest, status, ls, cancel, generate, demo):
    command.add_to(cli)


@cli.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command that the arguments name."""
    try:
        cli()
    except Unreachable as error:
        _end(EXIT_UNREACHABLE, str(error))
    except Refused as error:
        _end(EXIT_REFUSED, str(error))
    except OSError as error:  # a file or an address that cannot be had; the error names it
        _end(EXIT_USAGE, str(error))
    except KeyboardInterrupt:
        _end(EXIT_INTERRUPTED, "interrupted")


def _end(status: int, message: str) -> None:
    sys.stderr.write(f"ackline: {message}\n")
    sys.exit(status)
