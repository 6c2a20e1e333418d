"""Carbon and cooling in status and conditions. Pure."""

from collections.abc import Iterator

from capper.api.grid_status import CarbonStatus, CoolingStatus
from capper.carbon.looks import CarbonLook
from capper.cooling.looks import CoolingLook
from capper.decide.plan import Condition, ConditionType
from capper.operator.journal import Event
from capper.operator.timestamps import rfc3339

_SENTENCE = 1024


def grid_conditions(
    carbon: CarbonLook, cooling: CoolingLook, warm: str = ""
) -> Iterator[Condition]:
    """What holds; sentences without their full stop, since several are joined.

    Args:
        carbon: Of this turn.
        cooling: Of this turn.
        warm: From `warm_bands`.
    """
    told = {
        ConditionType.CARBON_UNKNOWN: carbon.unknown,
        # What is unknown says why, too: one of the two is enough.
        ConditionType.CARBON_FEED_FAILING: "" if carbon.unknown else carbon.told.problem,
        ConditionType.CARBON_KIND_CHANGED: carbon.kind_changed,
        ConditionType.COOLING_FAILING: cooling.problem,
        ConditionType.COOLING_UNKNOWN: cooling.unknown,
        ConditionType.COOLING_WARM: warm,
    }
    for kind, sentence in told.items():
        if sentence:
            yield Condition(kind, sentence.removesuffix("."))


def grid_events(
    before: tuple[CarbonLook, CoolingLook], after: tuple[CarbonLook, CoolingLook]
) -> Iterator[Event]:
    """What began or ended between two turns of one configuration; nothing is told twice."""
    (carbon_before, cooling_before), (carbon, cooling) = before, after
    if carbon.active and bool(carbon.unknown) != bool(carbon_before.unknown):
        if carbon.unknown:
            yield Event("Warning", "CarbonUnknown", carbon.unknown)
        elif carbon_before.active:
            yield Event("Normal", "CarbonKnown", "The carbon intensity is known again.")
    if carbon.active and carbon_before.active and carbon.silent != carbon_before.silent:
        words = (
            f"Carbon lowers nothing: {carbon.silent}." if carbon.silent else "Carbon acts again."
        )
        yield Event("Normal", "CarbonSilent" if carbon.silent else "CarbonActs", words)
    doubt, doubt_before = (one.problem or one.unknown for one in (cooling, cooling_before))
    if cooling.active and bool(doubt) != bool(doubt_before):
        if doubt:
            words = f"The safe set-point counts: {doubt.removesuffix('.')}."
            yield Event("Warning", "CoolingUnsure", words)
        else:
            words = "Set-points follow the racks again."
            yield Event("Normal", "CoolingFollows", words)


def carbon_status(look: CarbonLook) -> CarbonStatus | None:
    """The block; None where carbon is off."""
    if not look.active:
        return None
    told = look.told
    return CarbonStatus(
        source=told.source,
        kind=told.kind or "",
        grams_per_kilowatt_hour=look.grams_per_kilowatt_hour,
        estimated=told.estimated,
        age_seconds=told.age_seconds,
        forecast_until=_time(told.until_seconds),
        cap_watts=look.asked_watts,
        silent=look.silent,
        eco_since=_time(look.memory.eco_since_seconds),
        emitted_grams=look.emitted_grams,
        budget_grams=look.budget_grams,
        budget_left_grams=look.budget_left_grams,
        period_end=_time(look.period_end_seconds),
        problem=told.problem[:_SENTENCE],
    )


def cooling_status(look: CoolingLook) -> CoolingStatus | None:
    """The block; None where cooling is not ours."""
    if not look.active:
        return None
    point = look.point
    return CoolingStatus(
        adapter=look.adapter,
        supply_set_celsius=None if point is None else point.supply_celsius,
        airflow_set_cubic_meters_per_second=None if point is None else point.airflow_m3_per_second,
        in_force_celsius=look.in_force_celsius,
        supply_celsius=look.supply_celsius,
        hottest_inlet_celsius=look.hottest_celsius,
        safe=look.safe,
        unknown=look.unknown[:_SENTENCE],
        problem=look.problem[:_SENTENCE],
        set_time=_time(look.written_seconds),
    )


def _time(epoch_seconds: float | None) -> str | None:
    return None if epoch_seconds is None else rfc3339(epoch_seconds)
