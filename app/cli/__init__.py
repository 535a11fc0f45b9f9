"""The command line: one file for each command, all of them clients of the HTTP API.

Exit status: 0 done · 1 the ingestion stopped before it was complete · 2 wrong usage ·
3 the service cannot be reached · 4 the service refused · 130 interrupted.
"""

import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from app import __version__
from app.cli.failures import Refused, Unreachable

COMMANDS = (
    *("serve", "receiver", "key", "ingest", "status", "ls", "dead-letters", "cancel"),
    *("generate", "demo"),
)
"""Each is a file in this folder."""

LEFT_OUT = ("httpx._main", "pydantic.v1")
"""Parts of libraries that do without them when they cannot be imported: httpx's own command line
with its colours, and a pydantic of before, which FastAPI asks about every model. They take a
tenth of the service's start, and 3 MB of its memory."""

EXIT_USAGE = 2
EXIT_UNREACHABLE = 3
EXIT_REFUSED = 4
EXIT_INTERRUPTED = 130


def _show_version(asked: bool) -> None:
    if asked:
        from app.decoders.native import is_compiled

        loops = "compiled" if is_compiled() else "in Python, no C compiler was there to build them"
        typer.echo(f"ackline {__version__} (text decoders {loops})")
        raise typer.Exit


def command_line(commands: Sequence[str] = COMMANDS) -> typer.Typer:
    """Return a command line of these commands. What they need is imported here."""
    cli = typer.Typer(
        name="ackline",
        help="Deliver a big file to an HTTP receiver, chunk by acknowledged chunk.",
        epilog="Exit status: 0 done, 1 stopped before it was complete, 2 wrong usage, "
        "3 service not reachable, 4 refused by the service.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        callback=_options,
    )
    for command in commands:
        import_module(f"{__name__}.{command.replace('-', '_')}").add_to(cli)
    return cli


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command that the arguments name."""
    try:
        _loaded(sys.argv[1:2])()
    except Unreachable as error:
        _end(EXIT_UNREACHABLE, str(error))
    except Refused as error:
        _end(EXIT_REFUSED, str(error))
    except OSError as error:  # a file or an address that cannot be had; the error names it
        _end(EXIT_USAGE, str(error))
    except KeyboardInterrupt:
        _end(EXIT_INTERRUPTED, "interrupted")


def _loaded(named: Sequence[str]) -> typer.Typer:
    """Return the command line: the one command that is named, or all if none of them is."""
    for module in LEFT_OUT:
        # To be None there is to be absent. Source: the Python reference, 5.3.1.
        sys.modules.setdefault(module, None)  # type: ignore[arg-type]
    # What is imported stays. To look for garbage in it takes a tenth of the time.
    gc.disable()
    cli = command_line([name for name in COMMANDS if name in named] or COMMANDS)
    gc.freeze()
    gc.enable()
    return cli


def _end(status: int, message: str) -> None:
    sys.stderr.write(f"ackline: {message}\n")
    sys.exit(status)
