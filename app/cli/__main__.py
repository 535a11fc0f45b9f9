"""``python -m app.cli``: the same as the command ``ackline``."""

from app.cli import main

main()
