"""The cap step of the demo: when, how deep, and the PowerCappingConfig that says so. Pure.

The boards' idle watts and what the requests take cannot go: the capper of this fleet can put
replicas to sleep, which saves idle watts. So the cap before the step is what a fleet needs that
uses three quarters of its cap, and the step takes 30 % of that cap.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from capper.api import API_VERSION, KIND

PERIOD_SECONDS = 1.0
"""From one turn of the capper to the next; the router's telemetry is as fast."""
# The capper's own defaults are for clusters, where a replica takes minutes to come and go.
PACING: Mapping[str, float] = {
    "escalateAfterSeconds": 2,
    "shedIntervalSeconds": 2,
    "growIntervalSeconds": 10,
    "dwellSeconds": 20,
}
# Sheddable requests are refused after this long at 5 % over the cap: there are none in the demo.
BRAKE: Mapping[str, float] = {"ratio": 1.05, "afterSeconds": 30}


@dataclass(frozen=True, slots=True, kw_only=True)
class CapSchedule:
    """Times since the first arrival.

    Attributes:
        measure_seconds: Until then nothing is capped and the fleet's watts are measured.
        step_seconds: The first cap is in force until then, the second from then on.
        reaction_seconds: The capper has this long to bring the watts under the second cap; what is
            over it later is a violation.
        watch_seconds: Arrivals must go on for this long after that, else there is no step.
        used_ratio: Measured watts over the first cap.
        cut_ratio: Part of the first cap that the step takes.
    """

    measure_seconds: float = 6.0
    step_seconds: float = 12.0
    reaction_seconds: float = 15.0
    watch_seconds: float = 6.0
    used_ratio: float = 0.75
    cut_ratio: float = 0.30

    @property
    def judged_seconds(self) -> float:
        """From when on watts over the cap are violations."""
        return self.step_seconds + self.reaction_seconds

    @property
    def least_seconds(self) -> float:
        """Shortest run of arrivals that shows the step."""
        return self.judged_seconds + self.watch_seconds

    def caps_watts(self, mean_watts: float) -> tuple[float, float]:
        """Both caps for a fleet that drew so much, in whole watts as the file has them."""
        first = mean_watts / self.used_ratio
        return float(round(first)), float(round(first * (1.0 - self.cut_ratio)))


def cap_document(
    cap_watts: float, floors: Mapping[str, int], *, enforce: bool = True
) -> dict[str, Any]:
    """A PowerCappingConfig.

    Args:
        cap_watts: Of the whole fleet.
        floors: Backend -> replicas that stay awake whatever the cap.
        enforce: Else the capper only looks on.
    """
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": "demo"},
        "spec": {
            "powerCapLimit": f"{cap_watts:.0f}W",
            "mode": "Enforce" if enforce else "Observe",
            "scaleObjectRef": [
                {"kind": "Deployment", "metadata": {"name": name}, "minReplicas": floor}
                for name, floor in floors.items()
            ],
            "safety": dict(PACING),
            "brake": dict(BRAKE),
        },
    }
