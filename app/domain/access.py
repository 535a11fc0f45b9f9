"""Who may ask for what, and for how much of it."""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address


class Scope(StrEnum):
    """What a caller may do. Each includes those before it."""

    READ = "read"
    """Look at ingestions."""

    INGEST = "ingest"
    """Submit files; cancel what it submitted itself, and see the records refused of it."""

    ADMIN = "admin"
    """Do so with whatever there is."""

    def includes(self, other: "Scope") -> bool:
        """Tell whether this scope allows all that ``other`` does."""
        ladder = list(Scope)
        return ladder.index(self) >= ladder.index(other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks."""

    name: str
    """Of the API key, the same for all keys that replace each other; empty without keys."""

    scope: Scope


ANONYMOUS = Caller(name="", scope=Scope.ADMIN)
"""Whoever asks a service without keys, which only this machine can reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveLimits:
    """How many ingestions the service has work with at one time. ``None``: no such limit."""

    per_caller: int | None = None
    """Of those submitted under one name. What was submitted without keys has none."""

    per_origin: int | None = None
    """Of those with callbacks at one ``scheme://host:port``."""


UNLIMITED = LiveLimits()


def is_loopback(host: str) -> bool:
    """Tell whether a host name or literal address means this machine, whoever is asked."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
