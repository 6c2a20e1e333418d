"""Joins what the decision, the session and the meter know of a request into one record. Pure.

It is an observer of exchanges (router.extproc.exchange) and takes the meter's ends. Every event is
a look-up by ticket and a few assignments; nothing is written or counted here but handed to sinks.
"""

from collections.abc import Callable, Mapping

from router.decide.ledger import Ticket
from router.decide.outcome import Pick
from router.decide.request_facts import RequestFacts
from router.metering.energy import RequestEnergy
from router.metering.journey import Journey, TokensSource, read_caller
from router.metering.meter import Meter
from router.metering.record import UNKNOWN_METHOD, AccessRecord

Sink = Callable[[AccessRecord, Journey], None]
METADATA_NAMESPACE = "headrace.metering"
_COUNTERFACTUAL_POLICY = "least-request"


class Recorder:
    """Remembers requests in flight and hands a record of each to every sink when it ends."""

    def __init__(
        self,
        *,
        policy: str,
        backend_of: Callable[[str], str],
        epoch_seconds: Callable[[], float],
        sinks: tuple[Sink, ...] = (),
    ) -> None:
        """Begin with nothing in flight.

        Args:
            policy: Name of the policy that picks.
            backend_of: The backend of an address.
            epoch_seconds: Calendar time, for the records.
            sinks: Called with every record, in order.
        """
        self._policy = policy
        self._backend_of = backend_of
        self._epoch_seconds = epoch_seconds
        self._sinks = sinks
        self._journeys: dict[Ticket, Journey] = {}
        self._by_request_id: dict[str, Ticket] = {}
        self.meter: Meter | None = None

    @property
    def open(self) -> int:
        """Requests in flight."""
        return len(self._journeys)

    def journey(self, ticket: Ticket) -> Journey | None:
        """What is known of a request in flight."""
        return self._journeys.get(ticket)

    def ticket_of(self, request_id: str) -> Ticket | None:
        """The request in flight of that x-request-id; the newest when callers repeat theirs."""
        return self._by_request_id.get(request_id)

    # What the decision tells

    def picked(self, facts: RequestFacts, pick: Pick, *, now_seconds: float) -> None:
        """A request was sent to a replica."""
        backend = self._backend_of(pick.address)
        self._journeys[pick.ticket] = Journey(
            facts.without_blocks(), pick, backend=backend, picked_seconds=now_seconds
        )

    # What the session tells (router.extproc.exchange.ExchangeObserver)

    def routed(self, ticket: Ticket, headers: Mapping[str, str]) -> None:
        """The headers of a request that has just been picked for."""
        journey = self._journeys.get(ticket)
        if journey is not None:
            caller = journey.caller = read_caller(headers)
            if caller.request_id is not None:
                self._by_request_id[caller.request_id] = ticket

    def response_started(
        self,
        ticket: Ticket,
        *,
        status: int,
        content_type: str,  # noqa: ARG002 - usage is found in JSON and in event streams alike
        content_encoding: str,
        now_seconds: float,
    ) -> None:
        """Response headers came."""
        journey = self._journeys.get(ticket)
        if journey is not None:
            journey.response_started(
                status=status, content_encoding=content_encoding, now_seconds=now_seconds
            )

    def response_chunk(self, ticket: Ticket, data: bytes, *, now_seconds: float) -> None:
        """A piece of the response body came."""
        journey = self._journeys.get(ticket)
        if journey is not None:
            journey.response_chunk(data, now_seconds=now_seconds)

    def metadata(self, ticket: Ticket, *, now_seconds: float) -> Mapping[str, str | float] | None:
        """Energy up to now, for the access log of the proxy; only what is known."""
        journey = self._journeys.get(ticket)
        energy = None
        if self.meter is not None and journey is not None:
            energy = self.meter.so_far(ticket, now_seconds=now_seconds)
        if energy is None or journey is None:
            return None
        told: dict[str, str | float | None] = {
            "joules": energy.joules,
            "grams_co2e": energy.grams_co2e,
            "method": energy.method,
            "coverage_ratio": energy.coverage_ratio,
            "predicted_dynamic_joules": journey.pick.dynamic_joules,
            "replica": ticket.address,
            "backend": self._backend(ticket, journey),
        }
        return {name: value for name, value in told.items() if value is not None}

    # What the meter tells

    def ended(self, ticket: Ticket, energy: RequestEnergy) -> None:
        """A request ended. One that was entered without a pick that came by here is not told of."""
        journey = self._journeys.pop(ticket, None)
        if journey is None:
            return
        request_id = journey.caller.request_id
        if request_id is not None and self._by_request_id.get(request_id) is ticket:
            del self._by_request_id[request_id]
        record = self._record(ticket, journey, energy)
        for sink in self._sinks:
            sink(record, journey)

    def _backend(self, ticket: Ticket, journey: Journey) -> str:
        """Of the replica that serves: the pick's own even when it has left the fleet since."""
        if ticket.address == journey.pick.address:
            return journey.backend
        return self._backend_of(ticket.address)

    def _record(self, ticket: Ticket, journey: Journey, energy: RequestEnergy) -> AccessRecord:
        facts, pick, caller = journey.facts, journey.pick, journey.caller
        usage, other = journey.usage(), pick.counterfactual
        output_tokens: float | None = None if usage is None else usage.output_tokens
        source = TokensSource.RESPONSE
        if output_tokens is None:
            output_tokens = energy.engine_tokens
            source = TokensSource.UNKNOWN if output_tokens is None else TokensSource.ENGINE_PRORATED
        return AccessRecord(
            ended_epoch_seconds=self._epoch_seconds(),
            request_id=caller.request_id,
            trace_id=caller.trace_id,
            tenant=caller.tenant,
            model=facts.model,
            api=facts.api,
            stream=facts.stream,
            priority=facts.hints.priority,
            backend=self._backend(ticket, journey),
            replica=ticket.address,
            policy=self._policy,
            reason=pick.reason,
            candidates=pick.candidates,
            status=journey.status,
            response_seen=journey.seen,
            duration_seconds=energy.seconds,
            ttfb_seconds=_since(journey.picked_seconds, journey.first_byte_seconds),
            ttft_seconds=_since(journey.picked_seconds, journey.first_token_seconds),
            prompt_tokens=facts.prompt_tokens if usage is None else usage.prompt_tokens,
            cached_prompt_tokens=None if usage is None else usage.cached_prompt_tokens,
            output_tokens=output_tokens,
            tokens_source=source,
            joules=energy.joules,
            dynamic_joules=energy.dynamic_joules,
            grams_co2e=energy.grams_co2e,
            method=UNKNOWN_METHOD if energy.method is None else energy.method,
            coverage_ratio=energy.coverage_ratio,
            measured_ratio=energy.measured_ratio,
            carbon_coverage_ratio=energy.carbon_coverage_ratio,
            replica_seconds=energy.replica_seconds,
            predicted_dynamic_joules=pick.dynamic_joules,
            counterfactual_policy=None if other is None else _COUNTERFACTUAL_POLICY,
            counterfactual_replica=None if other is None else other.address,
            counterfactual_backend=None if other is None else self._backend_of(other.address),
            counterfactual_dynamic_joules=None if other is None else other.dynamic_joules,
        )


def _since(start_seconds: float, at_seconds: float | None) -> float | None:
    return None if at_seconds is None else max(0.0, at_seconds - start_seconds)
