"""A fleet of simulated replicas and their GPU exporters in one process and one event loop.

`loadtest.fleet_control` runs one as its own process, with a port for ground truth and faults.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from loadtest.dcgm_exporter import Board, DcgmExporter
from loadtest.fleet_spec import FleetSpec, ReplicaSpec, SpecError, check_spec
from loadtest.gpu_sensor import board_gain
from loadtest.replica import ReplicaTotals
from loadtest.simulated_clock import SimulatedClock
from loadtest.vllm_server import VllmServer

__all__ = ["FleetSpec", "FleetTotals", "ReplicaSpec", "SimFleet", "SpecError"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetTotals:
    """Ground truth of a fleet up to a moment. Subtract two of them for the time between.

    Attributes:
        simulated_seconds: Fleet time.
        slipped_seconds: Simulated time that was taken back because the machine lagged; when it is
            not near 0, the offered load was higher than the arrivals say.
        replicas: By replica name.
    """

    simulated_seconds: float
    slipped_seconds: float
    replicas: Mapping[str, ReplicaTotals]

    @property
    def fleet(self) -> ReplicaTotals:
        """All replicas together."""
        return sum(self.replicas.values(), start=ReplicaTotals())

    def __sub__(self, other: "FleetTotals") -> "FleetTotals":
        """What came after `other` was taken. Both must be of one fleet."""
        return FleetTotals(
            simulated_seconds=self.simulated_seconds - other.simulated_seconds,
            slipped_seconds=self.slipped_seconds - other.slipped_seconds,
            replicas={
                name: totals - other.replicas[name] for name, totals in self.replicas.items()
            },
        )


class SimFleet:
    """Starts, stops and accounts for a fleet.

    Attributes:
        spec: As given.
        clock: The simulated time all replicas share.

    Raises:
        SpecError: From the constructor, when the description is impossible.
    """

    def __init__(
        self,
        spec: FleetSpec | Sequence[ReplicaSpec],
        *,
        epoch_seconds: Callable[[], float] = time.time,  # noqa: TID251 (calendar time of answers)
    ) -> None:
        self.spec = spec if isinstance(spec, FleetSpec) else FleetSpec(replicas=tuple(spec))
        check_spec(self.spec)
        self.clock = SimulatedClock(time_scale=self.spec.time_scale)
        self._servers = {
            replica.name: VllmServer(
                replica.settings(),
                truth=replica.physics_truth(),
                clock=self.clock,
                epoch_seconds=epoch_seconds,
            )
            for replica in self.spec.replicas
        }
        self._exporters = {
            node: self._exporter(node)
            for node in dict.fromkeys(replica.node for replica in self.spec.replicas)
        }

    @property
    def addresses(self) -> dict[str, str]:
        """host:port of each started replica, by name."""
        return {name: server.address for name, server in self._servers.items()}

    @property
    def exporter_addresses(self) -> dict[str, str]:
        """host:port of each node's GPU exporter, by node."""
        return {node: exporter.address for node, exporter in self._exporters.items()}

    def server(self, name: str) -> VllmServer:
        """One replica, to kill, restart, wedge or make it lie.

        Raises:
            KeyError: When there is none of that name.
        """
        return self._servers[name]

    def exporter(self, node: str) -> DcgmExporter:
        """The GPU exporter of a node.

        Raises:
            KeyError: When there is none of that name.
        """
        return self._exporters[node]

    def totals(self) -> FleetTotals:
        """Ground truth up to now, exact: sensors and scrapes have no part in it."""
        return FleetTotals(
            simulated_seconds=self.clock.now_seconds(),
            slipped_seconds=self.clock.slipped_seconds,
            replicas={name: server.totals() for name, server in self._servers.items()},
        )

    async def start(self) -> None:
        """Listen on every port, or on none.

        Raises:
            OSError: When a port is taken.
        """
        try:
            for server in self._servers.values():
                await server.start()
            for exporter in self._exporters.values():
                await exporter.start()
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close everything; what is under way is cut."""
        await asyncio.gather(*(exporter.stop() for exporter in self._exporters.values()))
        await asyncio.gather(*(server.stop() for server in self._servers.values()))

    def _exporter(self, node: str) -> DcgmExporter:
        spec = self.spec
        replicas = [replica for replica in spec.replicas if replica.node == node]
        boards = [
            Board(
                uuid=replica.board_uuid,
                truth=replica.physics_truth(),
                replica=self._servers[replica.name].replica,
                gain=board_gain(
                    replica.board_uuid, seed=spec.seed, spread_ratio=spec.sensor_gain_spread_ratio
                ),
                pod=replica.pod_name,
                namespace=replica.namespace,
                container="vllm",
            )
            for replica in replicas
        ]
        port = spec.exporter_ports.get(node, 0)
        return DcgmExporter(boards, node=node, host=replicas[0].host, port=port)
