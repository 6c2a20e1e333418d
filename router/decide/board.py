"""What all replicas of one backend share, computed once instead of once per question. Pure.

The formulas are those of `fleet.profile`, term by term and in the same order, so that the sums are
the same to the last bit; what depends on the batch alone is kept by batch.
"""

from fleet.batch_ratios import ratio_at
from fleet.profile import Profile
from fleet.topology import Backend

# Batches are whole numbers unless other routers' load is inferred; then few of them return.
_MOST_POINTS = 2048


class Point:
    """A board at B running requests, and with one more.

    Attributes:
        now_seconds: A step that reads no KV, at B.
        now_ratio: Correction of a step's time, at B.
        now_watts: Power above idle, at B.
        next_seconds: A step that reads no KV, at B + 1.
        next_ratio: Correction of a step's time, at B + 1.
        next_watts: Power above idle, at B + 1.
        slots_ratio: B + 1 over the batch slots.
    """

    __slots__ = (
        "next_ratio",
        "next_seconds",
        "next_watts",
        "now_ratio",
        "now_seconds",
        "now_watts",
        "slots_ratio",
    )

    def __init__(self, profile: Profile, max_running_requests: float, running: float) -> None:
        """Tabulate."""
        step, power, batch = profile.step, profile.power, running + 1.0
        self.now_seconds = step.base_seconds + step.per_request_seconds * running
        self.now_ratio = ratio_at(step.batch_ratios, running)
        self.now_watts = power.decode_watts(running) - power.idle_watts
        self.next_seconds = step.base_seconds + step.per_request_seconds * batch
        self.next_ratio = ratio_at(step.batch_ratios, batch)
        self.next_watts = power.decode_watts(batch) - power.idle_watts
        self.slots_ratio = batch / max_running_requests


class Board:
    """A backend's objective and engine, with a profile.

    Attributes:
        profile: As learned.
        points: What `at` has computed so far.
        kv_token_seconds: Each resident token, before the correction by batch.
        prompt_token_seconds: p1 of fleet.profile.StepTime.
        prompt_token_squared_seconds: Its p2.
        chunk_tokens: Prompt tokens that one step may carry.
        prefill_watts: Above idle, while computing a prompt.
        loading_watts: Above idle, while an adapter is loaded.
        max_running_requests: Batch slots.
        margin_ratio: Part of an objective that predictions may use up.
        tpot_seconds: The backend's objective.
        ttft_seconds: Likewise.
        tpot_limit_seconds: Objective times margin.
        ttft_limit_seconds: Likewise.
    """

    __slots__ = (
        "chunk_tokens",
        "kv_token_seconds",
        "loading_watts",
        "margin_ratio",
        "max_running_requests",
        "points",
        "prefill_watts",
        "profile",
        "prompt_token_seconds",
        "prompt_token_squared_seconds",
        "tpot_limit_seconds",
        "tpot_seconds",
        "ttft_limit_seconds",
        "ttft_seconds",
    )

    def __init__(self, backend: Backend, profile: Profile) -> None:
        """Take the numbers out of their objects."""
        step, power, objective = profile.step, profile.power, backend.objective
        self.profile = profile
        self.kv_token_seconds = step.per_kv_token_seconds
        self.prompt_token_seconds = step.per_prompt_token_seconds
        self.prompt_token_squared_seconds = step.per_prompt_token_squared_seconds
        self.chunk_tokens = step.chunk_tokens
        self.prefill_watts = power.prefill_watts - power.idle_watts
        self.loading_watts = power.floor_watts - power.idle_watts
        self.max_running_requests = backend.max_running_requests
        self.margin_ratio = objective.margin_ratio
        self.tpot_seconds = objective.tpot_seconds
        self.ttft_seconds = objective.ttft_seconds
        self.tpot_limit_seconds = objective.margin_ratio * objective.tpot_seconds
        self.ttft_limit_seconds = objective.margin_ratio * objective.ttft_seconds
        self.points: dict[float, Point] = {}

    def prompt_seconds(self, new_tokens: float, cached_tokens: float) -> float:
        """Time to compute what is not cached of a prompt, alone."""
        end = cached_tokens + new_tokens
        return self.prompt_token_seconds * new_tokens + (
            self.prompt_token_squared_seconds * (end * end - cached_tokens * cached_tokens)
        )

    def at(self, running: float) -> Point:
        """The board at a batch."""
        point = self.points.get(running)
        if point is None:
            if len(self.points) >= _MOST_POINTS:
                self.points.clear()
            point = self.points[running] = Point(self.profile, self.max_running_requests, running)
        return point
