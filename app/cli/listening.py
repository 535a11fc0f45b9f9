"""Listen before anything is promised: the socket is bound, then the address is told."""

import socket

import uvicorn

LISTENING = "listening on "
"""What the line begins with that tells the address, for people and for programs."""


def bind(host: str, port: int) -> socket.socket:
    """Return a bound socket; port 0 lets the kernel choose a free one.

    Raises ``OSError`` when the address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def url_of(bound: socket.socket) -> str:
    """Return where a bound socket is reached, as an HTTP URL."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(config: uvicorn.Config, bound: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; the line that tells the address goes out first."""
    print(f"{LISTENING}{url_of(bound)}", flush=True)
    uvicorn.Server(config).run(sockets=[bound])
