"""What goes wrong between a command and the service."""


class Unreachable(Exception):
    """Nobody answers there."""


class Refused(Exception):
    """The service answered with a problem document."""
