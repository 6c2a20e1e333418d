"""Picking rules of others that the router itself does not ship, for the comparison only.

Each is re-implemented from its description, on what our router sees, and keeps no latency guard
because its authors gave it none. All are `router.decide.policies.Policy` callables; the one with
state, the scorer with prefixes, is in `loadtest.simulator.prefix_scorer`.
"""

import math
from collections.abc import Callable, Sequence

from loadtest.simulator.prefix_scorer import QueueKvPrefix
from router.decide.outcome import PickReason
from router.decide.policies import Choice, Policy
from router.decide.question import Question
from router.decide.unit import Unit

# Batch at which the lookup table's averages are taken: the middle of what engines run at.
_AVERAGE_BATCH = 32.0
# Prompt and answer together, beyond which a request goes to the long pool, and that pool's size.
_LONG_CONTEXT_TOKENS = 2048.0
_LONG_POOL_RATIO = 0.25
# vLLM pads a batch up to the next multiple of 8 for which it has captured a CUDA graph.
_BOUNDARY_REQUESTS = 8


def average_joules(question: Question) -> Choice:
    """Least *average* joules of the request by accelerator, from a table made beforehand.

    After Wilkins et al. (arXiv 2407.00010, 2407.04014), who give energy as a function of prompt and
    answer length alone: it knows no operating point, so what batching saves is not in it. Where
    requests queue on all boards of the best accelerator, the next one is taken.
    """
    backends: dict[str, list[Unit]] = {}
    for unit in question.eligible:
        backends.setdefault(unit.backend.name, []).append(unit)
    for units in sorted(backends.values(), key=lambda units: _average_joules(question, units[0])):
        best = _fewest_running(units)
        if not best.waiting_requests:
            return Choice(best, PickReason.POLICY)
    return Choice(_fewest_running(question.eligible), PickReason.POLICY)


def two_pool(question: Question) -> Choice:
    """Long contexts to the quarter of the replicas with most KV room; fewest requests in each pool.

    After FleetOpt (arXiv 2603.17280): two pools by context length keep the batches of short
    requests dense. The answer's length is the one that the router expects.
    """
    by_room = sorted(question.eligible, key=lambda unit: (-unit.kv_capacity_tokens, unit.address))
    count = math.ceil(_LONG_POOL_RATIO * len(by_room))
    demand = question.demand
    is_long = demand.prompt_tokens + demand.output_tokens > _LONG_CONTEXT_TOKENS
    pool = by_room[:count] if is_long else by_room[count:]
    return Choice(_fewest_running(pool or by_room), PickReason.POLICY)


def boundary_avoidance(question: Question) -> Choice:
    """Fill batches up to their next boundary before any replica crosses one.

    After EcoRoute of VoltanaLLM (arXiv 2509.04827), which avoids the batch sizes at which a step
    gets dearer. Its boundaries follow from clock levels; without clocks they are CUDA graphs'.
    """
    inside = [unit for unit in question.eligible if int(unit.running) % _BOUNDARY_REQUESTS]
    return Choice(_fewest_running(inside or question.eligible), PickReason.POLICY)


RIVALS: dict[str, Callable[[], Policy]] = {
    "average-joules": lambda: average_joules,
    "two-pool": lambda: two_pool,
    "boundary-avoidance": lambda: boundary_avoidance,
    "queue-kv-prefix": QueueKvPrefix,
}
"""Makes a rule for one run, by the name that arms use."""


def _average_joules(question: Question, unit: Unit) -> float:
    """Energy of the request on a board's prior profile, as a meter reads it: idle included."""
    profile, demand = unit.backend.profile, question.demand
    step_seconds = profile.step.decode_seconds(
        _AVERAGE_BATCH, _AVERAGE_BATCH * demand.mix.resident_tokens
    )
    token_joules = profile.power.decode_watts(_AVERAGE_BATCH) * step_seconds / _AVERAGE_BATCH
    prefill_seconds = profile.step.prompt_seconds(demand.prompt_tokens)
    return demand.output_tokens * token_joules + profile.power.prefill_watts * prefill_seconds


def _fewest_running(units: Sequence[Unit]) -> Unit:
    return min(units, key=lambda unit: (unit.running, unit.address))
