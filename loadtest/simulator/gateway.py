"""What stands before the replicas: the router's decision, and Envoy where that is of no use."""

import random
from collections.abc import Mapping
from typing import Any

from loadtest.arrivals import Arrival
from loadtest.simulator.boards import SimulatedReplica
from loadtest.simulator.crew import Crew
from loadtest.simulator.tally import Tally
from loadtest.simulator.world import Arm, World
from loadtest.traces.prefix import engine_block_hashes
from router.decide.outcome import Rejection
from router.decide.picker import Picker
from router.decide.request_facts import Api, RequestFacts, RequestHints

# What a prompt token is in bytes; the router has to find that out by itself.
_BYTES_PER_TOKEN = 4.2
# Prompt blocks that a router hashes, about 256 bytes each: the endpoint picker's order of size.
ROUTER_BLOCK_TOKENS = 64


class Gateway:
    """Finds a replica for each request.

    Attributes:
        picker: The router's mind.
        router_away: Whether the router does not answer.
        retried: Requests whose pick no longer served.
    """

    def __init__(
        self,
        world: World,
        arm: Arm,
        replicas: Mapping[str, SimulatedReplica],
        *,
        tally: Tally,
        seed: int,
    ) -> None:
        """Nothing routed yet; `seed` is that of all draws."""
        self._world = world
        self._arm = arm
        self._replicas = replicas
        self._tally = tally
        self._hints = RequestHints(priority=world.priority)
        # Apart, so that a policy that draws more often sees the same boards.
        self._draws = random.Random(f"{seed}:draws")  # noqa: S311 - not for secrets
        self.picker = _picker(world, arm, seed)
        self.router_away = False
        self.retried = 0

    def route(
        self, arrival: Arrival, *, now_seconds: float, measured: bool
    ) -> tuple[SimulatedReplica | None, Any]:
        """The replica that gets the request, or None; and the ledger's ticket, or None."""
        if self.router_away:
            return self._fall_back(arrival.model), None
        answer = self.picker.pick(
            self._facts(arrival), now_seconds=now_seconds, draw=self._draws.random()
        )
        if isinstance(answer, Rejection):
            return None, None
        self._tally.reasons[answer.reason.value] += measured
        for address in answer.endpoints:
            replica = self._replicas[address]
            if replica.serving:
                break
        else:
            replica = self._fall_back(arrival.model)
        if replica.address != answer.address:
            # Envoy cannot connect, tries the next endpoint, and says who it was.
            self.retried += 1
            self.picker.serve(answer, replica.address, now_seconds=now_seconds)
        return replica, answer.ticket

    def _facts(self, arrival: Arrival) -> RequestFacts:
        return RequestFacts(
            model=arrival.model,
            api=Api.CHAT,
            stream=True,
            prompt_bytes=round(arrival.prompt_tokens * _BYTES_PER_TOKEN),
            max_output_tokens=(
                max(1, arrival.output_tokens) if self._arm.knows_lengths else self._world.max_tokens
            ),
            ignore_eos=self._arm.knows_lengths,
            hints=self._hints,
            prefix_block_hashes=(
                engine_block_hashes(arrival, block_size_tokens=ROUTER_BLOCK_TOKENS)
                if arrival.prefix_blocks
                else ()
            ),
            prefix_block_ratio=ROUTER_BLOCK_TOKENS / max(1, arrival.prompt_tokens),
        )

    def _fall_back(self, model: str) -> SimulatedReplica:
        """Envoy's least-request: the less loaded of two, by what Envoy itself has open."""
        serving = sorted(
            address
            for address, replica in self._replicas.items()
            if replica.serving and model in replica.models
        )
        two = self._draws.sample(serving, k=min(2, len(serving)))
        address = min(two, key=lambda address: self._replicas[address].engine.unfinished)
        return self._replicas[address]


def _picker(world: World, arm: Arm, seed: int) -> Picker:
    if arm.workers == 1:
        return Picker(world.fleet, arm.settings, policy=arm.policy)
    return Crew(world.fleet, arm.settings, workers=arm.workers, shared=arm.shared_ledger, seed=seed)
