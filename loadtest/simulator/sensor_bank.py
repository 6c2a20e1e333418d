"""The power sensors of all replicas under the virtual clock."""

from collections.abc import Mapping, Sequence

from loadtest.gpu_sensor import keyed_uniform
from loadtest.simulator.boards import SimulatedReplica
from loadtest.simulator.events import Events
from loadtest.simulator.sensors import Bias, BoardReading, DcgmSensor, Outage, SensorModel


class SensorBank:
    """One `DcgmSensor` per board, sampled when it wants to be.

    Boards are collected at a phase of their own, as exporters start when they start. All boards of
    a replica draw alike, each with its own gain; a replica's reading is their sum, as old as the
    oldest, and unknown when one is missing.
    """

    def __init__(
        self,
        replicas: Mapping[str, SimulatedReplica],
        model: SensorModel,
        *,
        events: Events,
        seed: int,
        outages: Mapping[str | None, Sequence[Outage]],
        biases: Mapping[str | None, Sequence[Bias]],
    ) -> None:
        """Install them; nothing is collected yet.

        Args:
            replicas: By address.
            model: How boards are measured.
            events: Where samples are entered.
            seed: Of gains, phases and losses.
            outages: By address; None: of all.
            biases: Likewise.
        """
        self._events = events
        self._replicas = replicas
        self._sensors: dict[str, tuple[DcgmSensor, ...]] = {}
        self._phase_joules: dict[DcgmSensor, float] = {}
        for address, replica in replicas.items():
            self._sensors[address] = tuple(
                self._install(
                    replica,
                    f"{address}/{number}",
                    model,
                    seed,
                    (*outages.get(None, ()), *outages.get(address, ())),
                    (*biases.get(None, ()), *biases.get(address, ())),
                )
                for number in range(replica.full_truth.gpus)
            )

    def start(self) -> None:
        """Begin to sample."""
        for address, sensors in self._sensors.items():
            for sensor in sensors:
                self._events.at(sensor.due_seconds, self._sample, (address, sensor))

    def read(self, address: str, *, now_seconds: float) -> BoardReading | None:
        """What a scrape sees of a replica; None when a board is missing."""
        readings = [sensor.read(now_seconds=now_seconds) for sensor in self._sensors[address]]
        if not self._replicas[address].board_powered:
            return None
        known = [one for one in readings if one is not None]
        if len(known) < len(readings):
            return None
        return BoardReading(
            at_seconds=min(one.at_seconds for one in known),
            power_watts=sum(one.power_watts for one in known),
            energy_millijoules=sum(one.energy_millijoules for one in known),
            temperature_celsius=max(one.temperature_celsius for one in known),
        )

    def _install(
        self,
        replica: SimulatedReplica,
        board: str,
        model: SensorModel,
        seed: int,
        outages: Sequence[Outage],
        biases: Sequence[Bias],
    ) -> DcgmSensor:
        truth = replica.full_truth
        phase_seconds = model.interval_seconds * keyed_uniform(f"{seed}/{board}/phase")
        sensor = DcgmSensor(
            board,
            model,
            seed=seed,
            idle_watts=truth.idle_watts / truth.gpus,
            full_watts=truth.full_watts / truth.gpus,
            now_seconds=-phase_seconds,
            outages=outages,
            biases=biases,
        )
        # The board was idle before the simulation began.
        self._phase_joules[sensor] = phase_seconds * truth.idle_watts / truth.gpus
        return sensor

    def _sample(self, subject: tuple[str, DcgmSensor]) -> None:
        address, sensor = subject
        replica, now_seconds = self._replicas[address], self._events.now_seconds
        joules = replica.engine.energy(now_seconds).joules / replica.full_truth.gpus
        sensor.sample(now_seconds=now_seconds, joules=joules + self._phase_joules[sensor])
        self._events.again_at(sensor.due_seconds, self._sample, subject)
