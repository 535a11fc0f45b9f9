"""What these tests run against: real processes."""

from tests.support.process_fixtures import another, receiver, receivers, service, stack

__all__ = ["another", "receiver", "receivers", "service", "stack"]
