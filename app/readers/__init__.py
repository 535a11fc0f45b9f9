"""Implementations of the ``Reader`` port: in this process, or in a child that may die."""
