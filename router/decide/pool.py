"""The replicas of one model, grouped by what makes them interchangeable to the decision."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fleet.operating import OperatingCurve
from fleet.physics import Mix, prefill_dynamic_joules
from fleet.profile import Profile
from router.decide.unit import Demand, Unit

_SENSOR_ERROR_RATIO = 0.05
_NOBODY: frozenset[str] = frozenset()


@dataclass(slots=True, kw_only=True)
class Group:
    """Units of one backend at one price.

    Attributes:
        units: Its members.
        profile: Of each of them.
        curve: Its steady states at the model's mix.
        price_ratio: Multiplier on their joules.
        batch: B*, the largest batch that keeps the guard at the model's mix.
        decode_joules_per_token: At B*.
        capacity_requests_per_second: Of one member at B*.
        standing_ratio: Times its merit when groups are put in order; see `build_groups`.
    """

    units: list[Unit]
    profile: Profile
    curve: OperatingCurve
    price_ratio: float
    batch: float
    decode_joules_per_token: float
    capacity_requests_per_second: float
    standing_ratio: float = 1.0

    def ordering_joules(self, *, prompt_tokens: float, output_tokens: float) -> float:
        """What groups are put in order by: merit, and a lead for those that stand in front."""
        merit = self.merit_joules(prompt_tokens=prompt_tokens, output_tokens=output_tokens)
        return self.standing_ratio * merit

    def merit_joules(self, *, prompt_tokens: float, output_tokens: float) -> float:
        """Priced joules of a request at the group's operating point (DESIGN section 3)."""
        prefill = prefill_dynamic_joules(self.profile, new_tokens=prompt_tokens)
        return self.price_ratio * (self.decode_joules_per_token * output_tokens + prefill)


@dataclass(slots=True, kw_only=True)
class Pool:
    """All units that serve one model.

    Attributes:
        model: Its name.
        units: In declaration order.
        groups: The same units, healthy ones only, by backend and price.
        committed: Addresses that are to carry the load.
    """

    model: str
    units: list[Unit]
    groups: list[Group] = field(default_factory=list)
    committed: frozenset[str] = frozenset()

    def eligible(self, demand: Demand) -> list[Unit]:
        """Units that may be picked for a request."""
        return [unit for unit in self.units if unit.healthy and demand.allows(unit.address)]

    def admit(self, demand: Demand) -> tuple[Demand, list[Unit]]:
        """The units for a request, and the request less the caution that would leave none.

        Better one that may be out of reach than none, and better that than one that stalls.
        """
        eligible = self.eligible(demand)
        if not eligible and demand.avoided:
            demand = demand._replace(avoided=_NOBODY)
            eligible = self.eligible(demand)
        if not eligible and demand.stalled:
            demand = demand._replace(stalled=_NOBODY)
            eligible = self.eligible(demand)
        return demand, eligible

    def in_merit_order(self, demand: Demand) -> list[Group]:
        """The groups, fewest priced joules for this request first."""
        return sorted(
            self.groups,
            key=lambda group: (
                group.ordering_joules(
                    prompt_tokens=demand.prompt_tokens, output_tokens=demand.output_tokens
                ),
                group.units[0].backend.name,
            ),
        )


def build_groups(
    units: Iterable[Unit], mix: Mix, swing_deviations: float, *, previous: Iterable[Group] = ()
) -> list[Group]:
    """Group healthy units and compute each group's operating point at `mix`.

    Power sensors of one type of board differ by 5 % (arXiv 2312.02741), so a smaller difference in
    learned merit says nothing of the boards. Changing places for it would leave one group half
    drained and the other half filled: each place in the order of `previous` is a lead of 5 %.
    """
    members: dict[tuple[str, float], list[Unit]] = {}
    for unit in units:
        if unit.healthy:
            members.setdefault((unit.backend.name, unit.price_ratio), []).append(unit)
    groups = list(_groups(members.values(), mix, swing_deviations))
    places = {name: place for place, name in enumerate(_standing(previous, mix))}
    for group in groups:
        place = places.get(group.units[0].backend.name, 0)
        group.standing_ratio = 1.0 + _SENSOR_ERROR_RATIO * place
    return groups


def _standing(groups: Iterable[Group], mix: Mix) -> dict[str, None]:
    """Backend names in the order in which their groups stand, each once."""
    ordered = sorted(
        groups,
        key=lambda group: group.ordering_joules(
            prompt_tokens=mix.computed_prompt_tokens, output_tokens=mix.output_tokens
        ),
    )
    return dict.fromkeys(group.units[0].backend.name for group in ordered)


def _groups(members: Iterable[list[Unit]], mix: Mix, swing_deviations: float) -> Iterator[Group]:
    for units in members:
        first = units[0]
        objective = first.backend.objective
        curve = OperatingCurve(first.profile, mix)
        batch = curve.largest_batch(
            tpot_limit_seconds=objective.margin_ratio * objective.tpot_seconds,
            max_running_requests=first.backend.max_running_requests,
            swing_deviations=swing_deviations,
        )
        yield Group(
            units=units,
            profile=first.profile,
            curve=curve,
            price_ratio=first.price_ratio,
            batch=batch,
            decode_joules_per_token=curve.decode_joules_per_token(batch),
            capacity_requests_per_second=curve.requests_per_second(batch),
        )
