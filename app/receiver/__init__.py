"""Chunks out: one POST, one reply, and who may be called at all."""
