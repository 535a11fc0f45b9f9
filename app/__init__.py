"""ackline: deliver a big file to an HTTP receiver, chunk by acknowledged chunk."""

__version__ = "0.1.0"
