"""The boards of a world, and the requests that move through their engines."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from loadtest.arrivals import Arrival
from loadtest.engine_state import Iteration, Limits
from loadtest.simulator.boards import SimulatedReplica, SimulatedRequest
from loadtest.simulator.events import Events
from loadtest.simulator.world import World
from loadtest.traces.prefix import engine_block_hashes


def replicas_of(world: World) -> dict[str, SimulatedReplica]:
    """All replicas by address, ready and idle."""
    return {
        replica.address: SimulatedReplica(
            address=replica.address,
            backend=backend.name,
            models=replica.models,
            rack=replica.domain,
            truth=world.truths[backend.name],
            limits=world.limits.get(backend.name, Limits()),
        )
        for backend in world.fleet.backends
        for replica in backend.replicas
    }


def overhead_watts_of(world: World) -> dict[str, float]:
    """Address -> declared power of its hosts."""
    return {
        replica.address: backend.gpus_per_replica * world.overhead_watts_per_gpu
        for backend in world.fleet.backends
        for replica in backend.replicas
    }


class Plant:
    """Steps all engines.

    Attributes:
        replicas: By address.
        on_finish: Told of every request that ended.
        on_empty: Told of a replica that has nothing left to do.
    """

    def __init__(
        self,
        replicas: Mapping[str, SimulatedReplica],
        *,
        events: Events,
        on_finish: Callable[[SimulatedRequest], None],
        on_empty: Callable[[SimulatedReplica], None],
    ) -> None:
        """Nothing submitted yet."""
        self.replicas = replicas
        self.on_finish = on_finish
        self.on_empty = on_empty
        self._events = events
        self._numbers = itertools.count()

    def submit(
        self, arrival: Arrival, replica: SimulatedReplica, *, ticket: Any, measured: bool
    ) -> None:
        """Hand a request to a replica now."""
        block_tokens = replica.engine.limits.block_size_tokens
        request = SimulatedRequest(
            str(next(self._numbers)),
            prompt_tokens=arrival.prompt_tokens,
            output_tokens=arrival.output_tokens,
            block_hashes=(
                engine_block_hashes(arrival, block_size_tokens=block_tokens)
                if arrival.prefix_blocks
                else ()
            ),
            ticket=ticket,
            measured=measured,
            tenant=arrival.tenant,
        )
        replica.engine.submit(request, now_seconds=self._events.now_seconds)
        self._events.unfinished += 1
        self.step(replica)

    def step(self, replica: SimulatedReplica) -> None:
        """Begin the next step, if there is work and none is under way."""
        if replica.stepping or replica.wedged:
            return
        iteration = replica.engine.plan(self._events.now_seconds)
        if iteration is not None:
            replica.stepping = True
            self._events.at(iteration.end_seconds, self._complete, (replica, iteration))
        elif not replica.engine.unfinished:
            self.on_empty(replica)

    def _complete(self, subject: tuple[SimulatedReplica, Iteration]) -> None:
        replica, iteration = subject
        step = replica.engine.complete(iteration)
        replica.stepping = False
        for request in step.finished:
            self._events.unfinished -= 1
            self.on_finish(request)
        self.step(replica)
