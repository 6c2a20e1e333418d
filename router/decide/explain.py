"""Why a request goes where it goes: every candidate with its joules, predictions and verdict."""

from dataclasses import asdict, dataclass
from typing import Any

from router.decide.guard import predict
from router.decide.policies import Choice
from router.decide.question import Question
from router.decide.request_joules import marginal_joules
from router.decide.unit import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateView:
    """One replica as the decision saw it. Energies are above idle and priced.

    Attributes:
        verdict: "chosen", "unhealthy", "skipped lately", "stalled", "domain sheds", "outside
            subset", "dearer", "not committed", or the limit that it would break: "tpot", "ttft",
            "kv", "slots".
        lateness_ratio: Worst prediction over limit; at most 1 when the guard passes.
        cached_tokens: Prompt tokens that it is predicted to have cached.
    """

    address: str
    backend: str
    committed: bool
    running: float
    merit_joules: float | None
    marginal_joules: float
    predicted_tpot_seconds: float
    predicted_ttft_seconds: float
    predicted_kv_ratio: float
    lateness_ratio: float
    cached_tokens: float
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One decision laid open."""

    model: str
    policy: str
    chosen: str
    reason: str
    prompt_tokens: float
    output_tokens: float
    candidates: tuple[CandidateView, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def explain(question: Question, choice: Choice, *, policy: str) -> Explanation:
    """Lay open a choice: the fewest joules first, those that could not be picked last."""
    demand = question.demand
    merits = {
        unit.address: group.merit_joules(
            prompt_tokens=demand.prompt_tokens, output_tokens=demand.output_tokens
        )
        for group in question.pool.groups
        for unit in group.units
    }
    views = [
        _view(unit, question, choice, merits.get(unit.address)) for unit in question.pool.units
    ]
    views.sort(key=lambda view: (view.verdict != "chosen", view.merit_joules or float("inf")))
    return Explanation(
        model=demand.model,
        policy=policy,
        chosen=choice.unit.address,
        reason=choice.reason.value,
        prompt_tokens=demand.prompt_tokens,
        output_tokens=demand.output_tokens,
        candidates=tuple(views),
    )


def _view(
    unit: Unit, question: Question, choice: Choice, merit_joules: float | None
) -> CandidateView:
    prediction = predict(
        unit,
        question.demand,
        kv_limit_ratio=question.kv_limit_ratio,
        now_seconds=question.now_seconds,
    )
    committed = unit.address in question.pool.committed
    if unit is choice.unit:
        verdict = "chosen"
    elif not unit.healthy:
        verdict = "unhealthy"
    elif unit.address in question.demand.avoided:
        verdict = "skipped lately"
    elif unit.address in question.demand.stalled:
        verdict = "stalled"
    elif unit.address in question.demand.refused:
        verdict = "domain sheds"
    elif unit not in question.eligible:
        verdict = "outside subset"
    elif not prediction.passes:
        verdict = prediction.limit
    else:
        verdict = "dearer" if committed else "not committed"
    return CandidateView(
        address=unit.address,
        backend=unit.backend.name,
        committed=committed,
        running=unit.running,
        merit_joules=merit_joules,
        marginal_joules=marginal_joules(unit, question.demand),
        predicted_tpot_seconds=prediction.tpot_seconds,
        predicted_ttft_seconds=prediction.ttft_seconds,
        predicted_kv_ratio=prediction.kv_ratio,
        lateness_ratio=prediction.lateness_ratio,
        cached_tokens=question.demand.at(unit.address).cached_tokens,
        verdict=verdict,
    )
