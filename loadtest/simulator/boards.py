"""The replicas of a simulated fleet under a virtual clock."""

from loadtest.engine import Engine
from loadtest.engine_state import EngineRequest, Limits
from loadtest.truth import Truth
from router.decide.ledger import Ticket


class SimulatedRequest(EngineRequest):
    """An engine request and the ledger's ticket for it.

    Attributes:
        ticket: None when the router did not see it (it had failed open).
        measured: Whether it arrived in the measured window.
    """

    __slots__ = ("measured", "ticket")

    def __init__(
        self,
        request_id: str,
        *,
        prompt_tokens: int,
        output_tokens: int,
        block_hashes: tuple[int, ...] = (),
        ticket: Ticket | None,
        measured: bool,
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


class SimulatedReplica:
    """One replica.

    Attributes:
        address: As in the fleet.
        backend: Likewise.
        engine: Scheduler, KV cache and energy.
        stepping: Whether a step is under way.
        wedged: Accepts requests and makes no progress.
        power_gain: Of its board's sensor; 1 is exact.
    """

    __slots__ = ("address", "backend", "engine", "power_gain", "stepping", "wedged")

    def __init__(
        self, *, address: str, backend: str, truth: Truth, limits: Limits, power_gain: float
    ) -> None:
        """Start idle at time 0."""
        self.address = address
        self.backend = backend
        self.engine: Engine[SimulatedRequest] = Engine(truth, limits)
        self.stepping = False
        self.wedged = False
        self.power_gain = power_gain
