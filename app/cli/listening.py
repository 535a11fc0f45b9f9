"""Listen before anything is promised: the socket is bound, then the address is told."""

import resource
import signal
import socket

import uvicorn

LISTENING = "listening on "
"""What the line begins with that tells the address, for people and for programs."""


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 lets the kernel choose a free one.

    Raises ``OSError`` when the address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen()  # who connects before the server has started waits, and is not refused
    except OSError as error:
        bound.close()
        raise OSError(error.errno, error.strerror, f"{host}:{port}") from error
    return bound


def url_of(bound: socket.socket) -> str:
    """Return where a bound socket is reached, as an HTTP URL."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


OPEN_FILES_WANTED = 65_536
"""A connection to a receiver is one; the usual soft limit of 1,024 exists for programs that use
select(2). Source: systemd.exec(5), LimitNOFILE."""


def allow_open_files() -> None:
    """Raise the limit of open files as far as it may be, and as far as it is of use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


STARTUP_FAILED = 3
"""Exit status when the server could not start."""


def serve(config: uvicorn.Config, bound: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, then drain; the line with the address goes out first.

    Raises ``SystemExit`` when the server did not start.
    """
    allow_open_files()
    server = uvicorn.Server(config)
    # uvicorn drains on a signal and then raises it again for whoever had it before, which
    # would end the process by SIGTERM. Having had it before itself, it ends with status 0.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    print(f"{LISTENING}{url_of(bound)}", flush=True)
    server.run(sockets=[bound])
    # All is settled. Python forgets handlers some 50 ms before the process ends, and a signal
    # that comes then would end it otherwise than with status 0; one that is ignored stays so.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if not server.started:
        raise SystemExit(STARTUP_FAILED)
