"""What the agent counts, by kind. Pure."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts since the agent started.

    Attributes:
        expirations: Leases that were not renewed in time, by what follows.
        restores: Boards that were put back as they were.
        orphans: Boards found lowered by an agent that did not end in order.
        refusals: Claims that were refused, by reason.
        faults: Errors of NVML, by kind.
        mismatches: Readings that were not what had been set.
    """

    expirations: Counter[str] = field(default_factory=Counter)
    restores: int = 0
    orphans: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    mismatches: int = 0
