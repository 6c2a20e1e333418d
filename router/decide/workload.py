"""What each model's traffic looks like: arrival rate, prompt and answer lengths, bytes per token.

Arrivals and prompt bytes are this router's own; answer lengths and tokens come from the engines'
counters, because the router never sees an answer.
"""

import math
from collections.abc import Iterable, Iterator

import msgspec

from fleet.physics import Mix
from fleet.signals import SignalKind
from fleet.snapshot import FleetSnapshot, Signals
from router.decide.decayed_sum import DecayedSum, DecayedSums
from router.decide.load_swing import LoadSwing
from router.decide.request_facts import RequestFacts
from router.decide.settings import DecideSettings

# How much traffic the defaults are worth: forgotten once this much has been seen.
_PRIOR_REQUESTS = 4.0
_PRIOR_TOKENS = 2048.0
_MIN_BYTES_PER_TOKEN = 1.0
_MAX_BYTES_PER_TOKEN = 16.0
_REPLICAS_PER_STEP = 64

_GROWING = (
    SignalKind.REQUESTS_FINISHED_TOTAL,
    SignalKind.GENERATION_TOKENS_TOTAL,
    SignalKind.PROMPT_TOKENS_TOTAL,
    SignalKind.PREFIX_HIT_TOKENS_TOTAL,
    SignalKind.PREFIX_QUERY_TOKENS_TOTAL,
)

_Totals = dict[SignalKind, float]
"""The newest total of each counter that a replica has shown."""


class Present(msgspec.Struct, frozen=True):
    """The means of one moment.

    Attributes:
        at_seconds: When.
        bytes_per_token: Prompt bytes sent per prompt token counted by the engines, within [1, 16].
        mix: The mean request; its answer has at least one token.
        own: Own requests of the window.
        own_tokens: Their prompt tokens.
    """

    at_seconds: float
    bytes_per_token: float
    mix: Mix
    own: float
    own_tokens: float


class ModelWorkload:
    """Running estimates for one model.

    Attributes:
        swing: How much its arrival rate swings.
    """

    __slots__ = (
        "_arrivals",
        "_counted",
        "_present",
        "_prior_bytes",
        "_prior_tokens",
        "_prompt_bytes",
        "_running",
        "_sent",
        "_settings",
        "_since_seconds",
        "_uncounted_bytes",
        "swing",
    )

    def __init__(self, settings: DecideSettings) -> None:
        """Start from the defaults of `settings`."""
        window_seconds = settings.length_window_seconds
        self._settings = settings
        self._prior_bytes = _PRIOR_TOKENS * settings.default_bytes_per_token
        self._prior_tokens = _PRIOR_REQUESTS * settings.default_output_tokens
        self._since_seconds: float | None = None
        self._arrivals = DecayedSum(settings.rate_window_seconds)
        self._sent = (0.0, 0.0, 0.0)  # own requests and their prompt tokens, as of when
        self._counted = DecayedSums(window_seconds, len(_GROWING))
        self._prompt_bytes = DecayedSum(window_seconds)
        self.swing = LoadSwing()
        self._running = 0.0
        self._uncounted_bytes = 0.0
        self._present: Present | None = None

    def arrive(self, facts: RequestFacts, *, prompt_tokens: float, now_seconds: float) -> None:
        """Count an accepted request."""
        if self._since_seconds is None:
            self._since_seconds = now_seconds
        self._arrivals.add(1.0, now_seconds=now_seconds)
        self.swing.arrive(now_seconds=now_seconds)
        own, own_tokens = self._own(now_seconds)
        at_seconds = max(now_seconds, self._sent[2])
        self._sent = (own + 1.0, own_tokens + prompt_tokens, at_seconds)
        self._uncounted_bytes += facts.prompt_bytes
        self._present = None

    def count(
        self, grown: dict[SignalKind, float], *, running_requests: float, now_seconds: float
    ) -> None:
        """Take in what the engines' counters have grown by since the last time."""
        self._counted.add(*(grown.get(kind, 0.0) for kind in _GROWING), now_seconds=now_seconds)
        self._running = running_requests
        if grown.get(SignalKind.PROMPT_TOKENS_TOTAL, 0.0) > 0.0:
            # Bytes wait here until tokens are counted: without telemetry nothing is calibrated.
            self._prompt_bytes.add(self._uncounted_bytes, now_seconds=now_seconds)
            self._uncounted_bytes = 0.0
        self._present = None

    def requests_per_second(self, *, now_seconds: float) -> float:
        """Arrival rate; corrected for a window that is not full yet. 0 before the first arrival."""
        if self._since_seconds is None:
            return 0.0
        window_seconds = self._settings.rate_window_seconds
        seen_seconds = max(now_seconds - self._since_seconds, 1.0)
        filled_ratio = 1.0 - math.exp(-seen_seconds / window_seconds)
        return self._arrivals.read(now_seconds=now_seconds) / (window_seconds * filled_ratio)

    def mix(self, *, now_seconds: float) -> Mix:
        """The present mean request."""
        return self.present(now_seconds).mix

    def present(self, now_seconds: float) -> Present:
        """All means of one moment: every pick asks for each of them, and they share their sums."""
        present = self._present
        if present is None or present.at_seconds != now_seconds:
            present = self._present = self._means(now_seconds)
        return present

    def _own(self, now_seconds: float) -> tuple[float, float]:
        """Own requests of the window, and their prompt tokens."""
        present = self._present
        if present is not None and present.at_seconds == now_seconds:
            return present.own, present.own_tokens
        own, own_tokens, at_seconds = self._sent
        elapsed_seconds = now_seconds - at_seconds
        if elapsed_seconds <= 0.0:
            return own, own_tokens
        fade = math.exp(-elapsed_seconds / self._settings.length_window_seconds)
        return own * fade, own_tokens * fade

    def _means(self, now_seconds: float) -> Present:
        """The sums of the windows, over each other.

        Running requests have written half of their answers on average, so they count as half an
        answer each: without them a window that has just begun looks like endless answers. Engines
        may serve others too, and some of our prompts may still wait: the tokens that our bytes are
        held against are scaled by our requests over those whose prompts were computed, so that
        both are of as many.
        """
        finished, written, counted, hits, queried = self._counted.read(now_seconds=now_seconds)
        own, sent_tokens = self._own(now_seconds)
        answers = finished + 0.5 * self._running
        output_tokens = max(1.0, (written + self._prior_tokens) / (answers + _PRIOR_REQUESTS))

        served = finished + self._running
        share = own / served if served > 0.0 else 1.0
        tokens = share * counted
        sent_bytes = self._prompt_bytes.read(now_seconds=now_seconds)
        ratio = (sent_bytes + self._prior_bytes) / (tokens + _PRIOR_TOKENS)

        prompt_tokens = (sent_tokens + _PRIOR_TOKENS) / (own + _PRIOR_REQUESTS)
        hit_ratio = min(1.0, hits / queried) if queried > 0.0 else 0.0
        return Present(
            now_seconds,
            min(_MAX_BYTES_PER_TOKEN, max(_MIN_BYTES_PER_TOKEN, ratio)),
            Mix(prompt_tokens, prompt_tokens * (1.0 - hit_ratio), output_tokens),
            own,
            sent_tokens,
        )


class Workload:
    """The workloads of all models that a fleet serves."""

    __slots__ = ("_models", "_settings", "_totals")

    def __init__(self, settings: DecideSettings) -> None:
        """Start with no model."""
        self._settings = settings
        self._models: dict[str, ModelWorkload] = {}
        self._totals: dict[str, _Totals] = {}

    def of(self, model: str) -> ModelWorkload:
        """The workload of a model the fleet serves (callers check that it does)."""
        workload = self._models.get(model)
        if workload is None:
            workload = self._models[model] = ModelWorkload(self._settings)
        return workload

    def mixes(self, models: Iterable[str], *, now_seconds: float) -> dict[str, Mix]:
        """The present mean request of each of `models`."""
        return {model: self.of(model).mix(now_seconds=now_seconds) for model in models}

    def observing(self, snapshot: FleetSnapshot, *, now_seconds: float) -> Iterator[None]:
        """Hand the growth of every replica's counters to the models it serves, in the last step.

        A replica that serves several models counts for each of them: its counters do not tell
        them apart, and means over the union are the best guess.
        """
        grown: dict[str, dict[SignalKind, float]] = {}
        running: dict[str, float] = {}
        totals: dict[str, _Totals] = {}
        for number, replica in enumerate(snapshot.fleet.replicas(), start=1):
            if not number % _REPLICAS_PER_STEP:
                yield
            signals = snapshot.of(replica.address)
            before = self._totals.get(replica.address, {})
            now = totals[replica.address] = {**before, **_totals(signals)}
            signal = signals.get(SignalKind.RUNNING_REQUESTS)
            for model in replica.models:
                sums = grown.setdefault(model, {})
                for kind, total in now.items():
                    amount = max(0.0, total - before.get(kind, total))
                    sums[kind] = sums.get(kind, 0.0) + amount
                running[model] = running.get(model, 0.0) + (signal.value if signal else 0.0)
        # What is no longer in the fleet is dropped, so that memory stays that of the fleet.
        self._totals = totals
        self._models = {name: load for name, load in self._models.items() if name in grown}
        for model, sums in grown.items():
            self.of(model).count(sums, running_requests=running[model], now_seconds=now_seconds)


def _totals(signals: Signals) -> _Totals:
    return {kind: signal.value for kind in _GROWING if (signal := signals.get(kind)) is not None}
