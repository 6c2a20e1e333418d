"""What the engine's scheduler keeps and returns: settings, requests, steps, counters.

Pure data. `loadtest.engine` holds the rules.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from loadtest.truth import MAX_BATCH


class State(enum.Enum):
    """Where a request stands."""

    NEW = "new"
    WAITING = "waiting"
    PREFILLING = "prefilling"
    DECODING = "decoding"
    FINISHED = "finished"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Settings of the engine, with vLLM's defaults.

    Attributes:
        max_num_seqs: Running requests at most (--max-num-seqs).
        max_num_batched_tokens: Tokens of one step: decodes plus prompt chunks.
        block_size_tokens: Tokens of one KV block (--block-size).
        kv_capacity_tokens: Tokens of the KV cache; None takes the board's own.
        enable_prefix_caching: Whether prompts are remembered.
    """

    max_num_seqs: int = 256
    max_num_batched_tokens: int = 2048
    block_size_tokens: int = 16
    kv_capacity_tokens: int | None = None
    enable_prefix_caching: bool = True

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not 1 <= self.max_num_seqs <= MAX_BATCH:
            raise ValueError(f"max_num_seqs must be in 1..{MAX_BATCH}, not {self.max_num_seqs}")
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens {self.max_num_batched_tokens} must be at least "
                f"max_num_seqs {self.max_num_seqs}"
            )
        if self.block_size_tokens < 1:
            raise ValueError(f"block_size_tokens must be positive, not {self.block_size_tokens}")


class EngineRequest:
    """One request and its progress. Callers may subclass it to carry their own data.

    Attributes:
        request_id: Unique among the unfinished requests of an engine.
        prompt_tokens: Length of the prompt, >= 1.
        output_tokens: Tokens it will generate, >= 1, known to the simulation only.
        block_hashes: Chained content hashes of the prompt's full blocks (see `Limits`), or none.
        finish_reason: What its end is called: "length" or "stop".
        state: Where it stands.
        cached_tokens: Prompt tokens found in the prefix cache when first scheduled.
        preemptions: Times it was thrown out and had to start over.
        arrival_seconds: When it was submitted.
        scheduled_seconds: When its first chunk ran; None before.
        first_token_seconds: End of the step with its first token; None before.
        preempted_token_seconds: Its newest token when it was last preempted; None if it had none.
        finished_seconds: When its last token came; None before.
    """

    __slots__ = (
        "_base_step",
        "_computed_tokens",
        "_due_step",
        "_generated_tokens",
        "_held",
        "_plain_blocks",
        "_remembered_blocks",
        "arrival_seconds",
        "block_hashes",
        "cached_tokens",
        "finish_reason",
        "finished_seconds",
        "first_token_seconds",
        "output_tokens",
        "preempted_token_seconds",
        "preemptions",
        "prompt_tokens",
        "request_id",
        "scheduled_seconds",
        "state",
    )

    def __init__(
        self,
        request_id: str,
        *,
        prompt_tokens: int,
        output_tokens: int,
        block_hashes: Sequence[int] = (),
        finish_reason: str = "length",
    ) -> None:
        if prompt_tokens < 1 or output_tokens < 1:
            raise ValueError(
                f"{request_id}: prompt ({prompt_tokens}) and output ({output_tokens}) must be >= 1"
            )
        self.request_id = request_id
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.block_hashes = block_hashes
        self.finish_reason = finish_reason
        self.state = State.NEW
        self.cached_tokens = 0
        self.preemptions = 0
        self.arrival_seconds = 0.0
        self.scheduled_seconds: float | None = None
        self.first_token_seconds: float | None = None
        self.preempted_token_seconds: float | None = None
        self.finished_seconds: float | None = None
        self._generated_tokens = 0  # as of the last preemption, first token or end
        self._computed_tokens = 0  # of prompt + generated, while prefilling
        self._base_step = 0  # while decoding: generated = step - base
        self._due_step = -1  # the one valid calendar entry, -1 for none
        self._plain_blocks = 0
        self._held: list[int] = []
        self._remembered_blocks = 0  # leading prompt blocks that were offered to the cache


RequestT = TypeVar("RequestT", bound=EngineRequest)


class Iteration(NamedTuple):
    """One planned engine step.

    Attributes:
        start_seconds: When it begins.
        duration_seconds: Its length.
        decode_batch: Requests that decode one token in it.
        prefill_tokens: Prompt tokens computed in it.
        energy_joules: Board energy over it, the idle floor included.
    """

    start_seconds: float
    duration_seconds: float
    decode_batch: int
    prefill_tokens: int
    energy_joules: float

    @property
    def end_seconds(self) -> float:
        """When it ends."""
        return self.start_seconds + self.duration_seconds

    @property
    def power_watts(self) -> float:
        """Mean board power over it."""
        return self.energy_joules / self.duration_seconds


class Step(NamedTuple, Generic[RequestT]):
    """What a completed iteration produced.

    Attributes:
        decoded_tokens: Tokens of requests that were decoding, one each.
        prefilled: Requests whose prompt got done: one token each; the first unless preempted.
        finished: Requests that ended with this step, `prefilled` ones included.
    """

    decoded_tokens: int
    prefilled: list[RequestT]
    finished: list[RequestT]


class Counters:
    """Running totals of one engine, plain ints so that a step costs no more than additions.

    Attributes:
        prompt_tokens: Of requests whose prompt got done, cached ones included.
        cached_prompt_tokens: The part of them that the prefix cache had.
        computed_prompt_tokens: Tokens that prefill chunks computed, recomputation included.
        generation_tokens: Emitted tokens.
        prefix_query_tokens: Prompt tokens looked up in the prefix cache.
        prefix_hit_tokens: The part found.
        preemptions: Requests thrown out for want of blocks.
        iterations: Completed steps.
        aborted: Requests aborted.
        finished: Ended requests by reason.
    """

    __slots__ = (
        "aborted",
        "cached_prompt_tokens",
        "computed_prompt_tokens",
        "finished",
        "generation_tokens",
        "iterations",
        "preempted_token_seconds",
        "preemptions",
        "prefix_hit_tokens",
        "prefix_query_tokens",
        "prompt_tokens",
    )

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.cached_prompt_tokens = 0
        self.computed_prompt_tokens = 0
        self.generation_tokens = 0
        self.prefix_query_tokens = 0
        self.prefix_hit_tokens = 0
        self.preemptions = 0
        self.iterations = 0
        self.aborted = 0
        self.finished: dict[str, int] = {"stop": 0, "length": 0}
