"""Host watts that go with a replica's requests of CPU and memory. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from capper.vertical.requests import Requests

_GIBIBYTE = 1024.0**3


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRates:
    """Watts of the host by what is reserved of it: assumed by the user, not measured.

    Attributes:
        cpu_core_watts: Of a core.
        memory_gibibyte_watts: Of a GiB.
    """

    cpu_core_watts: float = 5.0
    memory_gibibyte_watts: float = 0.3


def host_watts(requests: Requests, rates: HostRates) -> float:
    """Cores times watts per core, and GiB times watts per GiB."""
    return (
        requests.cpu_cores * rates.cpu_core_watts
        + requests.memory_bytes / _GIBIBYTE * rates.memory_gibibyte_watts
    )


def extra_watts(present: Sequence[Requests], following: Requests, rates: HostRates) -> float:
    """By how much the next replica's host watts differ from the mean of the running ones'.

    What is measured of the running ones has their share in it; the next one is started with other
    requests when a VerticalPodAutoscaler or a new template has changed them since. 0 where none
    runs: then there is nothing measured to correct.
    """
    if not present:
        return 0.0
    mean = math.fsum(host_watts(one, rates) for one in present) / len(present)
    return host_watts(following, rates) - mean
