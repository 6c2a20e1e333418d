"""A metering that has metered one request, so that every family of its metrics has a sample."""

from builders import chat, make_snapshot

from fleet.price import PriceBoard
from fleet.signals import FreshnessPolicy, SignalKind
from router.decide.picker import Picker
from router.decide.settings import DecideSettings
from router.decision_metrics import DecisionCollector
from router.extproc.pick_log import PickLog
from router.metering.intensity import StaticIntensity
from router.metering.metering import Metering, MeteringSettings

READINGS = {
    SignalKind.HEALTHY_RATIO: 1.0,
    SignalKind.RUNNING_REQUESTS: 4.0,
    SignalKind.POWER_WATTS: 300.0,
    SignalKind.GENERATION_TOKENS_PER_SECOND: 200.0,
}
USAGE = b'{"usage":{"prompt_tokens":3,"completion_tokens":5}}'


def metered(registry, holder, clock, *, sinks=()) -> Metering:
    """Everything switched on, one request picked, answered and ended."""
    fleet, picker = holder.current.fleet, Picker(holder.current.fleet, DecideSettings())
    metering = Metering(
        picker,
        MeteringSettings(access_record_path="-", awaits_access_log=True),
        policy="dispatch",
        snapshots=holder,
        clock=clock,
        registry=registry,
        intensity=StaticIntensity(default_grams_per_kwh=400.0),
        sinks=sinks,
    )
    picks = PickLog(metering.decider)
    registry.register(
        DecisionCollector(
            picker, picks.verdicts, snapshots=holder, freshness=FreshnessPolicy(), clock=clock
        )
    )
    holder.current = make_snapshot(fleet, at_seconds=clock.monotonic_seconds(), default=READINGS)
    now_seconds = clock.monotonic_seconds()
    picker.observe(holder.current, PriceBoard(), now_seconds=now_seconds)
    picker.commit(now_seconds=now_seconds)
    metering.observe(holder.current)
    ticket = picks.pick(chat(), now_seconds=now_seconds, draw=0.5).ticket
    metering.recorder.routed(ticket, {"x-request-id": "r-1"})
    metering.recorder.response_started(
        ticket, status=200, content_type="", content_encoding="", now_seconds=now_seconds
    )
    metering.recorder.response_chunk(ticket, USAGE, now_seconds=now_seconds)
    picks.settle(ticket, now_seconds=now_seconds + 1.0)
    return metering
