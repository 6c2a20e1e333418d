"""What the client library tells of a process itself."""

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector


def tell_of_process(registry: CollectorRegistry) -> None:
    """Register memory, CPU, descriptors, garbage collection and the interpreter's version."""
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
