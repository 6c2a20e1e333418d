"""What each backend serves now, for those who judge its boards and not its requests. Pure."""

from typing import NamedTuple

from fleet.physics import Mix
from fleet.profile import Profile
from router.decide.picker import Picker


class BackendMix(NamedTuple):
    """A backend at the mix of the first of its models.

    Attributes:
        profile: As learned.
        mix: Of prompts and answers.
        tpot_limit_seconds: The objective with its margin.
    """

    profile: Profile
    mix: Mix
    tpot_limit_seconds: float


def backend_mixes(picker: Picker, *, now_seconds: float) -> dict[str, BackendMix]:
    """By backend; one without a replica that has a model is left out."""
    firsts = {unit.backend.name: unit for unit in reversed(picker.units()) if unit.replica.models}
    return {
        name: BackendMix(
            profile=unit.profile,
            mix=picker.workload.of(unit.replica.models[0]).mix(now_seconds=now_seconds),
            tpot_limit_seconds=unit.backend.objective.tpot_seconds
            * unit.backend.objective.margin_ratio,
        )
        for name, unit in firsts.items()
    }
