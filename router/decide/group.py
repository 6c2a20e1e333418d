"""Replicas of one model that are interchangeable to the decision, and their merit. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fleet.operating import OperatingCurve
from fleet.physics import Mix, prefill_dynamic_joules
from router.decide.board import Board
from router.decide.demand import Demand
from router.decide.unit import Unit

_SENSOR_ERROR_RATIO = 0.05


@dataclass(slots=True, kw_only=True)
class Group:
    """Units of one backend at one price.

    Attributes:
        units: Its members.
        curve: Its steady states at the model's mix.
        price_ratio: Multiplier on their joules.
        batch: B*, the largest batch that keeps the guard at the model's mix.
        decode_joules_per_token: At B*.
        capacity_requests_per_second: Of one member at B*.
        standing_ratio: Times its merit when groups are put in order; see `build_groups`.
        board: Of each of its members.
    """

    units: list[Unit]
    curve: OperatingCurve
    price_ratio: float
    batch: float
    decode_joules_per_token: float
    capacity_requests_per_second: float
    board: Board
    standing_ratio: float = 1.0

    @property
    def addresses(self) -> list[str]:
        """Its members' addresses."""
        return [unit.address for unit in self.units]

    @property
    def key(self) -> tuple[str, float]:
        """What its members have in common: the backend's name and the price."""
        return (self.units[0].backend.name, self.price_ratio)

    def rank(self, demand: Demand) -> tuple[float, str, float]:
        """Sorts groups by priced joules for a request, the fewest first.

        `ordering_joules` in one go: every pick asks it of every group.
        """
        board, new = self.board, demand.prompt_tokens
        prefill = board.prefill_watts * (
            board.prompt_token_seconds * new + board.prompt_token_squared_seconds * (new * new)
        )
        merit = self.price_ratio * (self.decode_joules_per_token * demand.output_tokens + prefill)
        return (self.standing_ratio * merit, self.units[0].backend.name, self.price_ratio)

    def ordering_joules(self, *, prompt_tokens: float, output_tokens: float) -> float:
        """What groups are put in order by: merit, and a lead for those that stand in front."""
        merit = self.merit_joules(prompt_tokens=prompt_tokens, output_tokens=output_tokens)
        return self.standing_ratio * merit

    def merit_joules(self, *, prompt_tokens: float, output_tokens: float) -> float:
        """Priced joules of a request at the group's operating point (DESIGN section 3)."""
        prefill = prefill_dynamic_joules(self.board.profile, new_tokens=prompt_tokens)
        return self.price_ratio * (self.decode_joules_per_token * output_tokens + prefill)


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
            curve=curve,
            price_ratio=first.price_ratio,
            board=first.board,
            batch=batch,
            decode_joules_per_token=curve.decode_joules_per_token(batch),
            capacity_requests_per_second=curve.requests_per_second(batch),
        )
