"""What the model says of the best clock, beside what a sweep measures. Pure."""

from collections.abc import Sequence

from capper.clocks.sweep import Limits, grown, sums
from capper.decide.clock_model import ClockCurve
from capper.decide.clocks import ClockChoice, OperatingPoint, energy_optimal_clock
from fleet.physics import Mix
from fleet.signals import SignalKind
from fleet.snapshot import FleetSnapshot
from fleet.topology import Backend


def predicted(
    backend: Backend, curve: ClockCurve, snapshots: Sequence[FleetSnapshot], limits: Limits
) -> ClockChoice | None:
    """The clock of the fewest joules per token by the curve, at the batch and mix of a window.

    Args:
        backend: With its prior profile.
        curve: How it is thought to follow its clock.
        snapshots: Of a window at full clock; the first and the last are its ends.
        limits: What it has to keep.

    Returns:
        None where nothing ran, or counters are missing.
    """
    there = tuple(one.address for one in backend.replicas)
    ends = snapshots[0], snapshots[-1]
    prompts = grown(*ends, there, SignalKind.PROMPT_TOKENS_TOTAL)
    outputs = grown(*ends, there, SignalKind.GENERATION_TOKENS_TOTAL)
    requests = grown(*ends, there, SignalKind.REQUESTS_FINISHED_TOTAL)
    running = sums(snapshots, there, SignalKind.RUNNING_REQUESTS)
    if not (prompts and outputs and requests and running) or not sum(running):
        return None
    mix = Mix(
        prompt_tokens=prompts / requests,
        computed_prompt_tokens=prompts / requests,
        output_tokens=max(1.0, outputs / requests),
    )
    point = OperatingPoint(
        profile=backend.profile,
        mix=mix,
        batch=max(1.0, sum(running) / len(running) / len(there)),
        tpot_limit_seconds=limits.tpot_seconds,
    )
    share = None if limits.cap_watts is None else limits.cap_watts / len(there)
    return energy_optimal_clock(curve, point, max_watts=share)
