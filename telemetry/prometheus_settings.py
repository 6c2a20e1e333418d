"""How a Prometheus is asked; apart from who asks, whose libraries the others need not load."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSettings:
    """Where Prometheus is and within which limits it is asked.

    Attributes:
        url: Root, for example "http://prometheus.monitoring:9090".
        timeout_seconds: For one batch, and for every query in it, body included.
        threads: Queries in flight at the same time.
        cache_seconds: How long an answer serves all askers of the process; a little less than
            the polling interval.
        max_body_bytes: A longer answer is dropped.
        headers: Added to every request, for example an Authorization.
        ca_file: Certificates to trust for https; None: those of the `certifi` package. Proxies
            and credentials of the environment are not used.
    """

    url: str
    timeout_seconds: float = 2.0
    threads: int = 4
    cache_seconds: float = 0.8
    max_body_bytes: int = 32 * 1024 * 1024
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ca_file: str | None = None
