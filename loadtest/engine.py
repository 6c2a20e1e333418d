"""One continuous-batching engine without I/O: who is in the next step, how long, how many joules.

Pure and sans-io, after vLLM's V1 scheduler: every step decodes one token of each running request
and spends what is left of the token budget on prompt chunks, running prompts first, then the
waiting queue in order. KV blocks that run out preempt the newest running request, which later
recomputes its tokens. The caller owns time: it asks `plan(now)` for the next step, lets its
duration pass (by sleeping, or by moving a virtual clock) and calls `complete`.

Cost: tokens are never handled one by one. All decodes advance together, so a request's progress is
the step counter minus its base, and a calendar holds the step at which each request next needs
attention (a new block every 16 tokens, or the end). A step costs O(batch / 16).

What it leaves out: blocks of generated text are not remembered for later prompts, and waking up
takes no time (the simulator's lifecycle adds it).
"""

# ruff: noqa: SLF001 (the underscored fields of a request belong to its engine)

from collections import deque
from collections.abc import Iterable
from typing import Generic

from loadtest.engine_board import EngineBoard
from loadtest.engine_state import Counters, Iteration, Limits, RequestT, State, Step
from loadtest.kv_cache import KvCache
from loadtest.step_price import price
from loadtest.truth import Truth


class EngineError(Exception):
    """A request or a command that this engine can never serve; the message says why."""


class Engine(EngineBoard, Generic[RequestT]):
    """Scheduler, KV cache and energy of one replica. See the module for the protocol.

    Attributes:
        limits: Settings.
        counters: Running totals.
    """

    __slots__ = (
        "_attended_tokens",
        "_by_id",
        "_calendar",
        "_chunks",
        "_decoding",
        "_iteration",
        "_kv_cache",
        "_last_end_seconds",
        "_prefilling",
        "_running",
        "_short",
        "_step",
        "_waiting",
        "counters",
        "limits",
    )

    def __init__(
        self, truth: Truth, limits: Limits | None = None, *, now_seconds: float = 0.0
    ) -> None:
        super().__init__(truth, now_seconds=now_seconds)
        self.limits = limits if limits is not None else Limits()
        self.counters = Counters()
        self._kv_cache = KvCache(
            capacity_tokens=self.limits.kv_capacity_tokens or truth.kv_capacity_tokens,
            block_tokens=self.limits.block_size_tokens,
            prefix_caching=self.limits.enable_prefix_caching,
        )
        self._iteration: Iteration | None = None
        self._last_end_seconds = now_seconds  # of the last completed iteration
        self._step = 0  # completed iterations: what decoding requests are counted in
        self._by_id: dict[str, RequestT] = {}
        self._waiting: deque[RequestT] = deque()
        self._running: dict[RequestT, None] = {}  # in order of admission, newest last
        self._prefilling: dict[RequestT, None] = {}  # likewise, the part whose prompt is not done
        self._decoding: dict[RequestT, None] = {}
        self._attended_tokens = 0  # resident tokens of decoding requests
        self._calendar: dict[int, list[RequestT]] = {}
        self._short: list[RequestT] = []  # decoding requests whose next token has no block
        self._chunks: list[tuple[RequestT, int]] = []

    # What can be asked at any time.

    @property
    def running(self) -> int:
        """Requests in the batch, prefilling or decoding."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests in the queue, preempted ones included."""
        return len(self._waiting)

    @property
    def unfinished(self) -> int:
        """Requests that were submitted and have not ended."""
        return len(self._by_id)

    @property
    def kv_usage_ratio(self) -> float:
        """Part of the KV blocks that running requests hold."""
        return self._kv_cache.usage_ratio

    @property
    def kv_capacity_tokens(self) -> int:
        """Tokens of the KV cache, whole blocks."""
        return self._kv_cache.capacity_tokens

    @property
    def kv_used_tokens(self) -> int:
        """Tokens of the blocks that running requests hold."""
        return self._kv_cache.used_tokens

    def requests(self) -> Iterable[RequestT]:
        """Every unfinished request."""
        return self._by_id.values()

    def generated(self, request: RequestT) -> int:
        """Tokens generated so far for `request`, whatever its state."""
        if request.state is State.DECODING:
            return self._step - request._base_step
        return request._generated_tokens

    # Commands.

    def submit(self, request: RequestT, *, now_seconds: float) -> None:
        """Queue a request.

        Raises:
            EngineError: When its id is taken or it can never fit into the KV cache.
        """
        tokens = request.prompt_tokens + request.output_tokens
        if tokens > self.kv_capacity_tokens:
            raise EngineError(
                f"{request.request_id} needs {tokens} tokens of KV cache, "
                f"which holds {self.kv_capacity_tokens}"
            )
        if request.request_id in self._by_id or request.state is not State.NEW:
            raise EngineError(f"{request.request_id} was submitted before")
        request.state = State.WAITING
        request.arrival_seconds = now_seconds
        self._by_id[request.request_id] = request
        self._waiting.append(request)

    def abort(self, request_id: str) -> RequestT | None:
        """Drop an unfinished request; None when there is none of that id.

        A step under way keeps its length and energy: the board does not notice in time.
        """
        request = self._by_id.pop(request_id, None)
        if request is None:
            return None
        if request.state is State.WAITING:
            self._waiting.remove(request)
        else:
            self._leave(request)
        request.state = State.ABORTED
        self.counters.aborted += 1
        return request

    def sleep(self, *, now_seconds: float) -> None:
        """Offload the weights and forget the KV cache; new requests wait.

        Raises:
            EngineError: When requests are unfinished or their last step still runs.
        """
        if self._by_id or self._iteration is not None:
            raise EngineError(f"cannot sleep with {len(self._by_id)} unfinished requests")
        self._kv_cache.forget()
        self._fall_asleep(now_seconds=now_seconds)

    def halt(self, *, now_seconds: float) -> None:
        """The process is gone: requests, cache and the rest of a running step are lost."""
        for request_id in list(self._by_id):
            self.abort(request_id)
        self._iteration = None
        self._chunks = []
        self._meter.end_step(now_seconds=now_seconds)
        self.sleep(now_seconds=now_seconds)

    # The step.

    def plan(self, now_seconds: float) -> Iteration | None:
        """Schedule the step that starts now; None when there is nothing to do."""
        assert self._iteration is None, "complete the running iteration first"
        if self._asleep or not self._by_id:
            return None
        preemptions = self.counters.preemptions
        self._grow_decodes()
        budget_tokens = self.limits.max_num_batched_tokens - len(self._decoding)
        budget_tokens = self._chunk_running(budget_tokens)
        if self.counters.preemptions == preemptions:
            self._admit(budget_tokens, now_seconds)
        self._iteration = self._priced(now_seconds)
        return self._iteration

    def complete(self, iteration: Iteration) -> Step[RequestT]:
        """The planned step is over, at its `end_seconds`: emit its tokens."""
        assert iteration is self._iteration, "complete what was planned, once"
        self._iteration = None
        now_seconds = self._last_end_seconds = iteration.end_seconds
        self._step += 1
        self.counters.iterations += 1
        decoded_tokens = len(self._decoding)
        self._attended_tokens += decoded_tokens
        self.counters.generation_tokens += decoded_tokens
        finished: list[RequestT] = []
        for request in self._calendar.pop(self._step, ()):
            self._attend(request, finished, now_seconds)
        prefilled = [
            request
            for request, tokens in self._chunks
            if self._advance_prefill(request, tokens, finished, now_seconds)
        ]
        self._chunks = []
        return Step(decoded_tokens, prefilled, finished)

    def _grow_decodes(self) -> None:
        """Give each decoding request that ran out of room its next block."""
        short, self._short = self._short, []
        for request in short:
            if request.state is State.DECODING:
                tokens = request.prompt_tokens + self.generated(request)
                if self._extend_or_preempt(request, tokens=tokens):
                    self._schedule(request)

    def _chunk_running(self, budget_tokens: int) -> int:
        """Continue prompts that are partly computed; returns what is left of the budget."""
        for request in tuple(self._prefilling):
            if budget_tokens > 0 and request.state is State.PREFILLING:
                tokens = min(budget_tokens, self._prefill_tokens_left(request))
                if self._extend_or_preempt(request, tokens=request._computed_tokens + tokens):
                    self._chunks.append((request, tokens))
                    budget_tokens -= tokens
        return budget_tokens

    def _admit(self, budget_tokens: int, now_seconds: float) -> None:
        """Start waiting requests in order while there is budget, batch room and KV room."""
        while self._waiting and budget_tokens > 0 and len(self._running) < self.limits.max_num_seqs:
            request = self._waiting[0]
            self._kv_cache.hold_prefix(request)
            tokens = min(budget_tokens, self._prefill_tokens_left(request))
            if not self._kv_cache.extend(request, tokens=request._computed_tokens + tokens):
                self._kv_cache.release(request)
                return
            self._waiting.popleft()
            self._running[request] = self._prefilling[request] = None
            request.state = State.PREFILLING
            if request.scheduled_seconds is None:
                request.scheduled_seconds = max(now_seconds, request.arrival_seconds)
                request.cached_tokens = request._computed_tokens
                self.counters.prefix_query_tokens += request.prompt_tokens
                self.counters.prefix_hit_tokens += request.cached_tokens
            self._chunks.append((request, tokens))
            budget_tokens -= tokens

    def _priced(self, now_seconds: float) -> Iteration:
        """Begin the step that was put together."""
        step = price(
            self.truth,
            batch=len(self._decoding),
            attended_tokens=self._attended_tokens,
            chunks=self._chunks,
            now_seconds=now_seconds,
        )
        self._meter.begin_step(
            start_seconds=now_seconds,
            duration_seconds=step.duration_seconds,
            joules=step.energy_joules,
        )
        return step

    # Progress of one request.

    def _attend(self, request: RequestT, finished: list[RequestT], now_seconds: float) -> None:
        """A calendar entry came up: the request ends or needs a block. Stale entries do nothing."""
        if request._due_step != self._step:
            return
        request._due_step = -1
        if self.generated(request) == request.output_tokens:
            self._finish(request, finished, now_seconds)
        else:
            self._short.append(request)

    def _advance_prefill(
        self, request: RequestT, tokens: int, finished: list[RequestT], now_seconds: float
    ) -> bool:
        """Book a computed chunk; True when that was the last one, which yields a token."""
        if request.state is not State.PREFILLING:  # aborted while the step ran
            return False
        request._computed_tokens += tokens
        self.counters.computed_prompt_tokens += tokens
        self._kv_cache.remember_prompt(request)
        if self._prefill_tokens_left(request):
            return False
        if request.first_token_seconds is None:
            request.first_token_seconds = now_seconds
            self.counters.prompt_tokens += request.prompt_tokens
            self.counters.cached_prompt_tokens += request.cached_tokens
        self.counters.generation_tokens += 1
        request._generated_tokens += 1
        request._base_step = self._step - request._generated_tokens
        request.state = State.DECODING
        del self._prefilling[request]
        self._decoding[request] = None
        self._attended_tokens += request.prompt_tokens + request._generated_tokens
        if request._generated_tokens == request.output_tokens:
            self._finish(request, finished, now_seconds)
        else:
            self._schedule(request)
        return True

    def _schedule(self, request: RequestT) -> None:
        """Enter the step at which the request next needs attention into the calendar."""
        # Token g of the output is stored at position prompt + g when it is fed to the next step.
        room_tokens = self._kv_cache.room_tokens(request) - request.prompt_tokens
        generated_tokens = min(request.output_tokens, room_tokens + 1)
        due_step = request._base_step + generated_tokens
        if due_step <= self._step:
            self._short.append(request)
            return
        request._due_step = due_step
        self._calendar.setdefault(due_step, []).append(request)

    def _finish(self, request: RequestT, finished: list[RequestT], now_seconds: float) -> None:
        self._leave(request)
        request.state = State.FINISHED
        request.finished_seconds = now_seconds
        del self._by_id[request.request_id]
        self.counters.finished[request.finish_reason] += 1
        finished.append(request)

    def _preempt(self, request: RequestT) -> None:
        """Throw a running request out; it recomputes prompt and output when its turn comes."""
        if request.state is State.DECODING:
            request.preempted_token_seconds = self._last_end_seconds
        self._leave(request)
        request.preemptions += 1
        request.state = State.WAITING
        self._waiting.appendleft(request)
        self.counters.preemptions += 1

    def _leave(self, request: RequestT) -> None:
        """Take a running request out of the batch and free its blocks."""
        if request.state is State.DECODING:
            request._generated_tokens = self.generated(request)
            self._attended_tokens -= request.prompt_tokens + request._generated_tokens
            del self._decoding[request]
        else:
            del self._prefilling[request]
        request._due_step = -1
        del self._running[request]
        self._kv_cache.release(request)

    def _prefill_tokens_left(self, request: RequestT) -> int:
        return request.prompt_tokens + request._generated_tokens - request._computed_tokens

    def _extend_or_preempt(self, request: RequestT, *, tokens: int) -> bool:
        """Make room for `tokens` in all, throwing out the newest running requests for it.

        Returns:
            False when the request itself was the newest and had to go.
        """
        while not self._kv_cache.extend(request, tokens=tokens):
            newest = next(reversed(self._running))
            self._preempt(newest)
            if newest is request:
                return False
        return True
