"""The replicas of a simulated fleet under a virtual clock."""

import enum

from loadtest.engine import Engine
from loadtest.engine_state import EngineRequest, Limits
from loadtest.truth import Truth
from router.decide.ledger import Ticket


class ReplicaState(enum.StrEnum):
    """Where a replica is in its life."""

    READY = "ready"
    DRAINING = "draining"  # gets no new requests, once the router has seen it
    ASLEEP = "asleep"  # weights offloaded
    WAKING = "waking"
    STOPPED = "stopped"  # no process
    STARTING = "starting"


SERVING = frozenset({ReplicaState.READY, ReplicaState.DRAINING})
"""States in which requests are answered."""


class SimulatedRequest(EngineRequest):
    """An engine request and the ledger's ticket for it.

    Attributes:
        ticket: None when the router did not see it (it had failed open).
        measured: Whether it arrived in the measured window.
        tenant: Who asks; None when unknown.
    """

    __slots__ = ("measured", "tenant", "ticket")

    def __init__(
        self,
        request_id: str,
        *,
        prompt_tokens: int,
        output_tokens: int,
        block_hashes: tuple[int, ...] = (),
        ticket: Ticket | None,
        measured: bool,
        tenant: str | None = None,
    ) -> None:
        """Lengths are at least 1, as the engine wants them."""
        super().__init__(
            request_id,
            prompt_tokens=max(1, prompt_tokens),
            output_tokens=max(1, output_tokens),
            block_hashes=block_hashes,
        )
        self.ticket = ticket
        self.measured = measured
        self.tenant = tenant
        self.tenant = tenant


class SimulatedReplica:
    """One replica.

    Attributes:
        address: As in the fleet.
        backend: Likewise.
        models: Likewise.
        rack: Its power domain.
        full_truth: Physics at the full clock without a power limit.
        engine: Scheduler, KV cache and energy.
        state: See `ReplicaState`; changed by `Lifecycle` alone.
        board_powered: False while the host is off.
        stepping: Whether a step is under way.
        wedged: Accepts requests and makes no progress.
    """

    __slots__ = (
        "address",
        "backend",
        "board_powered",
        "engine",
        "full_truth",
        "models",
        "rack",
        "state",
        "stepping",
        "wedged",
    )

    def __init__(
        self,
        *,
        address: str,
        backend: str,
        models: tuple[str, ...] = (),
        rack: str = "default",
        truth: Truth,
        limits: Limits,
    ) -> None:
        """Start ready and idle at time 0."""
        self.address = address
        self.backend = backend
        self.models = models
        self.rack = rack
        self.full_truth = truth
        self.engine: Engine[SimulatedRequest] = Engine(truth, limits)
        self.state = ReplicaState.READY
        self.board_powered = True
        self.stepping = False
        self.wedged = False

    @property
    def serving(self) -> bool:
        """Whether a request that is sent to it is answered."""
        return self.state in SERVING
