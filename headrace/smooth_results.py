"""What the example of `headrace smooth` comes to."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """One way to place, measured on the week after the one it was planned on; means over seeds.

    Attributes:
        leaf_ratio: By how much the sum of the racks' peaks is lower than now.
        low_ratio: The same, the worst of all weeks and draws.
        high_ratio: The best.
        row_ratio: The same of the rows' peaks.
        bound_ratio: What no placement can pass: the peak of the whole over the racks' peaks now.
    """

    leaf_ratio: float
    low_ratio: float
    high_ratio: float
    row_ratio: float
    bound_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """One declared fleet.

    Attributes:
        name: Of the case.
        description: What it is.
        replicas: Of all services.
        racks: Leaves of its tree.
        kilowatts: The racks' peaks now, added up, of the first week.
        moved: Replicas that the first plan hangs elsewhere.
        arms: "now", "random", "renewed", "dealt" and "planned".
    """

    name: str
    description: str
    replicas: int
    racks: int
    kilowatts: float
    moved: int
    arms: Mapping[str, ArmResult]
