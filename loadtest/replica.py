"""One simulated engine in real time: steps take their time, tokens come out, totals are kept.

Shell around the pure engine. It owns no task: a timer per running step calls back into it, which
costs a fraction of an `asyncio.sleep` and lets nothing run between a step's end and the next plan.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol

from loadtest.engine import Engine
from loadtest.engine_state import EngineRequest, Iteration, Limits, State, Step
from loadtest.simulated_clock import MAX_LAG_SECONDS, SimulatedClock
from loadtest.truth import Truth
from loadtest.vllm_metrics import VllmMetrics

# uvloop's timers are whole milliseconds and may fire early by half of one. A step that is due
# within this time is completed at once; its simulated end stays exact, so nothing adds up.
_EARLY_SECONDS = 0.0006

# Steps completed in one callback when catching up, before sockets get their turn.
_STEPS_PER_WAKE = 4


class TokenWriter(Protocol):
    """Where the tokens of a streamed answer go."""

    def write(self, generation: "Generation", first: int, last: int, *, finished: bool) -> None:
        """Send tokens first..last, counted from 1; `finished` when they are the final ones."""
        ...


class Generation(EngineRequest):
    """An engine request that somebody waits for.

    Attributes:
        adapter: LoRA adapter it runs on, None for the base model.
        writer: Gets its tokens as they come; None for an answer in one piece.
        done: Result None when its last token is out.
        emitted_tokens: Tokens given to the writer so far.
    """

    __slots__ = ("adapter", "done", "emitted_tokens", "writer")

    def __init__(
        self,
        request_id: str,
        *,
        prompt_tokens: int,
        output_tokens: int,
        block_hashes: Sequence[int] = (),
        finish_reason: str = "length",
        adapter: str | None = None,
        writer: TokenWriter | None = None,
    ) -> None:
        super().__init__(
            request_id,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            block_hashes=block_hashes,
            finish_reason=finish_reason,
        )
        self.adapter = adapter
        self.writer = writer
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.emitted_tokens = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaTotals:
    """Ground truth of one replica since its board was powered; restarts do not reset it.

    Subtract two of them for the time between.

    Attributes:
        idle_joules: Idle (or asleep) watts over all the time.
        dynamic_joules: What steps drew above that.
        busy_seconds: Simulated time in steps.
        prompt_tokens: Of requests whose prompt got done, cached ones included.
        cached_prompt_tokens: The part found in the prefix cache.
        generation_tokens: Emitted.
        finished_requests: Ended by themselves.
        aborted_requests: Hung up on, or lost when the replica was killed.
        preemptions: Requests thrown out of the batch for want of KV blocks.
    """

    idle_joules: float = 0.0
    dynamic_joules: float = 0.0
    busy_seconds: float = 0.0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    generation_tokens: int = 0
    finished_requests: int = 0
    aborted_requests: int = 0
    preemptions: int = 0

    @property
    def joules(self) -> float:
        """All energy of the board."""
        return self.idle_joules + self.dynamic_joules

    def __add__(self, other: "ReplicaTotals") -> "ReplicaTotals":
        """Both together."""
        return _combined(self, other, sign=1)

    def __sub__(self, other: "ReplicaTotals") -> "ReplicaTotals":
        """What came after `other` was taken."""
        return _combined(self, other, sign=-1)


class Replica:
    """Drives one engine against the fleet's clock.

    Attributes:
        engine: The engine; a new one after each restart.
        metrics: What its /metrics shows beside the engine's counters; new after each restart.
    """

    def __init__(
        self,
        *,
        truth: Truth,
        limits: Limits,
        clock: SimulatedClock,
        metrics: VllmMetrics,
        stream_interval_tokens: int = 1,
    ) -> None:
        self._clock = clock
        self._stream_interval_tokens = stream_interval_tokens
        self._last_end_seconds = clock.now_seconds()
        self._iteration: Iteration | None = None
        self._timer: asyncio.Handle | None = None
        self._frozen = False
        self._streams: dict[Generation, None] = {}
        self._before_restart = ReplicaTotals()
        self.metrics = metrics
        self.engine = Engine[Generation](truth, limits, now_seconds=self._last_end_seconds)

    def now_seconds(self) -> float:
        """This replica's simulated time: the fleet's, but never past a step that still has to end.

        A step that ends late in wall time ends on time here, so no request waits for less than
        nothing and no idle watts are charged for the host's delay.
        """
        now_seconds = max(self._clock.now_seconds(), self._last_end_seconds)
        if self._iteration is None or self._frozen:
            return now_seconds
        return min(now_seconds, self._iteration.end_seconds)

    def totals(self) -> ReplicaTotals:
        """Everything up to now."""
        return self._before_restart + self._since_restart()

    def submit(self, generation: Generation) -> None:
        """Hand a request to the engine.

        Raises:
            EngineError: When it can never be served.
        """
        self.engine.submit(generation, now_seconds=self.now_seconds())
        if generation.writer is not None:
            self._streams[generation] = None
        if self._iteration is None and not self._frozen:
            self._start_step(self.now_seconds())

    def abort(self, generation: Generation) -> None:
        """Forget a request; harmless when it is already over."""
        self.engine.abort(generation.request_id)
        self._streams.pop(generation, None)

    def sleep(self) -> None:
        """Offload the weights.

        Raises:
            EngineError: When there is work.
        """
        self.engine.sleep(now_seconds=self.now_seconds())

    def wake(self) -> None:
        """Serve again, what has queued up meanwhile included."""
        self.engine.wake(now_seconds=self.now_seconds())
        if self._iteration is None and not self._frozen:
            self._start_step(self.now_seconds())

    def freeze(self) -> None:
        """Hang: the step under way never ends. The board goes on to draw idle watts."""
        self._frozen = True
        self._cancel_timer()

    def thaw(self) -> None:
        """Go on where it hung, from this moment."""
        if not self._frozen:
            return
        iteration = self._iteration
        if iteration is not None:
            self._end_step(iteration)
            # The pause is idle time of the hardware, not a lag of the host: nothing to catch up.
            self._last_end_seconds = max(self._last_end_seconds, self._clock.now_seconds())
        self._frozen = False
        self._start_step(self.now_seconds())

    def halt(self) -> None:
        """The process dies: work is lost, the board falls to its asleep watts."""
        self._cancel_timer()
        self._last_end_seconds = self.now_seconds()
        self._iteration = None
        self._frozen = False
        self._streams.clear()
        self.engine.halt(now_seconds=self._last_end_seconds)

    def restart(self, metrics: VllmMetrics) -> None:
        """A new process on the same board, after `halt`: counters from zero, totals go on."""
        self._before_restart = self.totals()
        self._last_end_seconds = self.now_seconds()
        self.metrics = metrics
        self.engine = Engine[Generation](
            self.engine.truth, self.engine.limits, now_seconds=self._last_end_seconds
        )

    def _since_restart(self) -> ReplicaTotals:
        energy = self.engine.energy(self.now_seconds())
        counters = self.engine.counters
        return ReplicaTotals(
            idle_joules=energy.idle_joules,
            dynamic_joules=energy.dynamic_joules,
            busy_seconds=energy.busy_seconds,
            prompt_tokens=counters.prompt_tokens,
            cached_prompt_tokens=counters.cached_prompt_tokens,
            generation_tokens=counters.generation_tokens,
            finished_requests=sum(counters.finished.values()),
            aborted_requests=counters.aborted,
            preemptions=counters.preemptions,
        )

    def _start_step(self, now_seconds: float) -> None:
        self._iteration = self.engine.plan(now_seconds)
        if self._iteration is not None:
            self._arm(self._clock.wall_seconds_until(self._iteration.end_seconds))

    def _arm(self, wall_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if wall_seconds > 0:
            self._timer = loop.call_later(wall_seconds, self._on_timer)
        else:
            self._timer = loop.call_soon(self._on_timer)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        """Complete what is due and arm the timer for the rest."""
        wall_seconds = 0.0
        for _ in range(_STEPS_PER_WAKE):
            iteration = self._iteration
            if iteration is None:
                return
            wall_seconds = self._clock.wall_seconds_until(iteration.end_seconds)
            if wall_seconds > _EARLY_SECONDS:
                break
            if wall_seconds < -MAX_LAG_SECONDS:
                self._clock.slip(-wall_seconds)
            self._end_step(iteration)
            self._iteration = self.engine.plan(iteration.end_seconds)
        if self._iteration is not None:
            self._arm(self._clock.wall_seconds_until(self._iteration.end_seconds))

    def _end_step(self, iteration: Iteration) -> None:
        step = self.engine.complete(iteration)
        self._iteration = None
        self._last_end_seconds = iteration.end_seconds
        self.metrics.observe_step(iteration, step)
        self._emit(step)

    def _emit(self, step: Step[Generation]) -> None:
        """Give streams their tokens: the first at once, then every `stream_interval_tokens`."""
        interval_tokens = self._stream_interval_tokens
        generated = self.engine.generated
        for generation in self._streams:
            emitted_tokens = generation.emitted_tokens
            tokens = generated(generation)
            if tokens - emitted_tokens >= (interval_tokens if emitted_tokens else 1):
                finished = generation.state is State.FINISHED
                self._write(generation, tokens, finished=finished)
        for generation in step.finished:
            if generation.emitted_tokens < generation.output_tokens:
                self._write(generation, generation.output_tokens, finished=True)
            self._streams.pop(generation, None)
            if not generation.done.done():
                generation.done.set_result(None)

    @staticmethod
    def _write(generation: Generation, tokens: int, *, finished: bool) -> None:
        if generation.writer is not None:
            first = generation.emitted_tokens + 1
            generation.writer.write(generation, first, tokens, finished=finished)
        generation.emitted_tokens = tokens


def _combined(left: ReplicaTotals, right: ReplicaTotals, *, sign: int) -> ReplicaTotals:
    return ReplicaTotals(
        **{
            field.name: getattr(left, field.name) + sign * getattr(right, field.name)
            for field in fields(ReplicaTotals)
        }
    )
