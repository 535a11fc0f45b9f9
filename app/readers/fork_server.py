"""The inside of the fork server: a process of one thread that forks a reader for each order.

It has loaded all that a reader needs, so that a reader starts in milliseconds and shares that
memory. It never looks into a file itself. On its standard input, a socket, comes one byte for
each reader to be made, and with it the four descriptors named in `Ends`. How the reader ended
is written to its life line; a life line that the service closes ends the reader. When the
service is gone, so is the fork server, and with it every reader.
"""

import ctypes
import faulthandler
import gc
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from app.readers import child
from app.readers.cutting import Formats
from app.readers.frames import ReaderSetup

ORDER = b"+"

OOM_SCORE = "500"
"""When memory runs out, the kernel is to take a reader, not who makes or feeds them."""

NICE = 5
"""Many readers are busy at once, and who delivers and answers must not wait for all of them."""

_CONTROL = 0
_PR_SET_PDEATHSIG = 1
"""Source: prctl(2). The signal comes when the thread that forked ends: there is only one."""


class Ends(NamedTuple):
    """The descriptors that come with an order, in this order."""

    orders: int
    """The reader's standard input: what is to be read, then credits."""

    frames: int
    """Where the reader writes."""

    stderr: int
    """Where it leaves its last words."""

    life: int
    """Never the reader's: how it ended is written here, and its end of file is a death sentence."""


def serve(formats_of: Callable[[ReaderSetup], Formats]) -> int:
    """Fork until the service is gone. Returns the exit status; in a reader, never."""
    faulthandler.enable()
    # What is there now is never garbage. Looking at it would unshare its pages.
    gc.collect()
    gc.freeze()
    return _ForkServer(formats_of).serve()


class _ForkServer:
    def __init__(self, formats_of: Callable[[ReaderSetup], Formats]) -> None:
        self._formats_of = formats_of
        self._control = socket.socket(fileno=_CONTROL)
        self._prctl = ctypes.CDLL(None).prctl
        self._pid = os.getpid()
        self._alive: dict[int, int] = {}
        """Life line → process id, until the process is reaped."""
        self._deaths, self._bell = os.pipe()
        os.set_blocking(self._bell, False)
        self._poll = select.poll()

    def serve(self) -> int:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)
        self._poll.register(_CONTROL, select.POLLIN)
        self._poll.register(self._deaths, select.POLLIN)
        while True:
            ready = {fd for fd, _ in self._poll.poll()}
            # First those that end, then those that take their places.
            for life in ready & self._alive.keys():
                self._poll.unregister(life)
                os.kill(self._alive[life], signal.SIGKILL)  # not reaped, so the id is its own
            if self._deaths in ready:
                os.read(self._deaths, 4096)
                self._reap()
            if _CONTROL in ready and not self._obey():
                for pid in self._alive.values():
                    os.kill(pid, signal.SIGKILL)
                return 0

    def _obey(self) -> bool:
        """Fork a reader. Returns whether there may be more to do."""
        order, fds, _, _ = socket.recv_fds(self._control, 1, len(Ends._fields))
        if not order:
            return False
        ends = Ends(*fds)
        try:
            pid = os.fork()
        except OSError as error:
            _tell(ends.life, f"could not be started: {error}")
        else:
            if not pid:
                self._be_reader(ends)
            self._alive[ends.life] = pid
            self._poll.register(ends.life, select.POLLIN)
        for fd in (ends.orders, ends.frames, ends.stderr):
            os.close(fd)
        return True

    def _reap(self) -> None:
        for life, pid in list(self._alive.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            code = os.waitstatus_to_exitcode(status)
            how = f"signal {-code}" if code < 0 else f"status {code}"
            with suppress(KeyError):  # it was sentenced
                self._poll.unregister(life)
            del self._alive[life]
            _tell(life, f"ended with {how}")

    def _be_reader(self, ends: Ends) -> None:
        """Go on as the reader. Never returns."""
        status = 1
        try:
            # No session of its own: where the kernel shares the processor among sessions first
            # (autogroup, sched(7)), sixteen busy readers would leave the service a 17th of it.
            os.setpgid(0, 0)
            self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != self._pid:
                os._exit(status)  # the fork server ended before the call above
            os.nice(NICE)
            with suppress(OSError):
                Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.dup2(ends.orders, 0)  # and the fork server's control is closed
            # Whatever a library prints must not get between the frames.
            os.dup2(ends.stderr, 1)
            os.dup2(ends.stderr, 2)
            # Nothing of another reader is left in this one's hands.
            for fd in (*self._alive, self._deaths, self._bell, *ends):
                if fd != ends.frames:
                    os.close(fd)
            status = child.serve(0, ends.frames, self._formats_of)
        except BaseException:  # noqa: BLE001 - these are its last words
            traceback.print_exc()
        finally:
            with suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)


def _tell(life: int, how: str) -> None:
    with suppress(OSError):  # nobody wants to know
        os.write(life, how.encode())
    os.close(life)
