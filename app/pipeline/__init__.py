"""The data plane: claim, read, deliver, commit. Knows ports, never implementations."""
