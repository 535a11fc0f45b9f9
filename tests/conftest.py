"""What holds for every test."""

from hypothesis import HealthCheck, settings

# How long an example takes is the machine's doing: one that stands still for a second breaks
# no property. What must be quick has a test of its own.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
