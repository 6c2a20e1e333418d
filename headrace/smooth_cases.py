"""The file of declared weeks: which services, where their users are, in which racks they start."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from capper.decide.domains import DomainTree
from capper.decide.policy import ROOT, DomainPolicy
from fleet.priors import ACCELERATORS
from headrace.config_errors import load_model
from headrace.fleet_file import Name, Positive, Section

SHIPPED = Path(__file__).with_name("smooth_week.yaml")
Count = Annotated[int, Field(gt=0, le=10_000)]


class WeekService(Section):
    """One service; its load is its replicas' capacity times the curve of its day."""

    name: Name
    replicas: Count
    day: Literal["two-humps", "office", "night", "flat"]
    utc_offset_hours: Annotated[float, Field(ge=-12, le=14)] = 0.0
    trace: Literal["azure-conv", "azure-code"]
    weekend_ratio: Annotated[float, Field(ge=0, le=1)] = 0.7
    routing: Literal["packed", "even"] = "packed"
    accelerator: Name = "H100"
    parameters: Positive = 8e9
    gpus_per_replica: Count = 1
    peak_ratio: Annotated[float, Field(gt=0, le=1)] = 0.8

    @model_validator(mode="after")
    def _board_is_known(self) -> Self:
        if self.accelerator not in ACCELERATORS:
            raise ValueError(f"accelerator must be one of {', '.join(ACCELERATORS)}")
        return self


class WeekCase(Section):
    """One fleet in its racks, which all hold as many replicas, give or take one."""

    name: Name
    description: Name
    rows: Count
    racks_per_row: Count
    mixed: bool = False
    services: Annotated[tuple[WeekService, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [one.name for one in self.services]
        if len(set(names)) < len(names):
            raise ValueError("names of services must be unique")
        if sum(one.replicas for one in self.services) < self.rows * self.racks_per_row:
            raise ValueError("there must be a replica for each rack at least")
        return self

    def racks(self) -> tuple[str, ...]:
        """Names of the leaves, row by row."""
        return tuple(
            f"row-{row + 1}/rack-{rack + 1}"
            for row in range(self.rows)
            for rack in range(self.racks_per_row)
        )

    def tree(self) -> DomainTree:
        """The fleet, its rows and racks."""
        rows = [f"row-{row + 1}" for row in range(self.rows)]
        return DomainTree(
            (
                DomainPolicy(name=ROOT),
                *(DomainPolicy(name=row, parent=ROOT) for row in rows),
                *(DomainPolicy(name=one, parent=one.split("/")[0]) for one in self.racks()),
            )
        )

    def placed(self) -> dict[str, str]:
        """Replica -> rack at the start: service by service, or every service over all racks."""
        names = [f"{one.name}-{at}" for one in self.services for at in range(one.replicas)]
        racks = self.racks()
        if self.mixed:
            return {name: racks[at % len(racks)] for at, name in enumerate(names)}
        return {name: racks[at * len(racks) // len(names)] for at, name in enumerate(names)}


class WeekFile(Section):
    """All cases."""

    cases: Annotated[tuple[WeekCase, ...], Field(min_length=1)]


def load_cases(path: Path) -> tuple[WeekCase, ...]:
    """Read a file of declared weeks.

    Raises:
        BadInputError: With every problem in it.
    """
    return load_model(path, WeekFile).cases
