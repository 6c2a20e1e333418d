"""What the racks' sensors said last. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from capper.decide.observation import Sample

ByRack = Mapping[str, Sample]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensed:
    """Answers of the sensors; a value that is not believed is NaN, so that it counts as one.

    Attributes:
        power: Watts by rack, where a query of one's own measures them.
        inlet: Celsius by rack.
        outlet: Celsius by rack.
        airflow: Cubic metres per second by rack.
        supply: Celsius of the room's air.
        cooling: Watts that cooling draws.
        problems: One sentence for each query that gave no answer.
    """

    power: ByRack = field(default_factory=dict)
    inlet: ByRack = field(default_factory=dict)
    outlet: ByRack = field(default_factory=dict)
    airflow: ByRack = field(default_factory=dict)
    supply: Sample | None = None
    cooling: Sample | None = None
    problems: tuple[str, ...] = ()
