"""The dcgm-exporter of one simulated node: power, energy, clock and temperature of its boards.

Names, units and labels as the real one's (facts/power-and-kubernetes.md 3): watts, millijoules,
megahertz, degrees Celsius.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from aiohttp import web

from loadtest.exposition import CONTENT_TYPE, Family, MetricsFault, label_set
from loadtest.gpu_sensor import GpuSensor
from loadtest.replica import Replica
from loadtest.truth import Truth

# How often the boards' sensors look, in wall seconds; NVML refreshes about as often.
_SAMPLE_INTERVAL_SECONDS = 0.1

_POWER = Family("DCGM_FI_DEV_POWER_USAGE", "gauge", "Power draw (in W).")
_ENERGY = Family(
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "counter", "Energy since power-on (in mJ)."
)
_CLOCK = Family("DCGM_FI_DEV_SM_CLOCK", "gauge", "SM clock frequency (in MHz).")
_TEMPERATURE = Family("DCGM_FI_DEV_GPU_TEMP", "gauge", "GPU temperature (in C).")


class Board(NamedTuple):
    """One board as the exporter knows it.

    Attributes:
        uuid: "GPU-...".
        truth: What it is.
        replica: What runs on it.
        gain: Of its power sensor, 1 for an exact one.
        pod: Kubernetes names of the workload.
        namespace: Likewise.
        container: Likewise.
    """

    uuid: str
    truth: Truth
    replica: Replica
    gain: float
    pod: str
    namespace: str
    container: str


class DcgmExporter:
    """Serves /metrics for all boards of a node.

    Attributes:
        faults: By board UUID: in which way its samples are wrong.
    """

    def __init__(self, boards: Sequence[Board], *, node: str, host: str, port: int) -> None:
        self.faults: dict[str, MetricsFault] = {}
        self._boards = boards
        self._sensors = [_sensor(board) for board in boards]
        self._labels = [_labels(board, index, node) for index, board in enumerate(boards)]
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None
        self._sampler: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """host:port; the port is known once started."""
        return f"{self._host}:{self._port}"

    async def start(self) -> None:
        """Listen and sample.

        Raises:
            OSError: When the port is taken.
        """
        application = web.Application()
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/health", self._health)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port, reuse_address=True).start()
        except OSError:
            await runner.cleanup()
            raise
        self._port = runner.addresses[0][1]
        self._runner = runner
        self._sampler = asyncio.create_task(self._sample_forever())

    async def stop(self) -> None:
        """Stop both; a no-op when not started."""
        sampler, self._sampler = self._sampler, None
        if sampler is not None:
            sampler.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sampler
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def render(self) -> bytes:
        """The exposition, sensors read now."""
        self._sample()
        families: tuple[tuple[Family, Callable[[Board, GpuSensor], float]], ...] = (
            (_POWER, lambda _, sensor: sensor.power_watts),
            (_ENERGY, lambda _, sensor: int(sensor.energy_joules * 1e3)),
            (_CLOCK, lambda board, _: _clock_hz(board) / 1e6),
            (_TEMPERATURE, lambda _, sensor: round(sensor.temperature_celsius)),
        )
        parts = []
        for family, value in families:
            parts.append(family.header())
            for board, sensor, labels in self._rows():
                fault = self.faults.get(board.uuid)
                parts.append(family.sample(labels, value(board, sensor), fault))
        return "".join(parts).encode()

    def _rows(self) -> Iterable[tuple[Board, GpuSensor, str]]:
        return zip(self._boards, self._sensors, self._labels, strict=True)

    def _sample(self) -> None:
        for board, sensor, _ in self._rows():
            now_seconds = board.replica.now_seconds()
            sensor.sample(now_seconds=now_seconds, joules=board.replica.totals().joules)

    async def _sample_forever(self) -> None:
        while True:
            await asyncio.sleep(_SAMPLE_INTERVAL_SECONDS)
            self._sample()

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self.render(), headers={"Content-Type": CONTENT_TYPE})

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(text="KO" if self._sampler is None else "OK")


def _sensor(board: Board) -> GpuSensor:
    return GpuSensor(
        idle_watts=board.truth.idle_watts,
        full_watts=board.truth.prefill_watts,
        gain=board.gain,
        now_seconds=board.replica.now_seconds(),
        joules=board.replica.totals().joules,
    )


def _labels(board: Board, index: int, node: str) -> str:
    return label_set(
        {
            "gpu": str(index),
            "UUID": board.uuid,
            "pci_bus_id": f"00000000:{index + 1:02X}:00.0",
            "device": f"nvidia{index}",
            "modelName": board.truth.device_name,
            "Hostname": node,
            "container": board.container,
            "namespace": board.namespace,
            "pod": board.pod,
        }
    )


def _clock_hz(board: Board) -> float:
    """A CUDA context alone keeps the clock at its maximum (facts/power-and-kubernetes.md 7)."""
    asleep = board.replica.engine.asleep
    return board.truth.asleep_clock_hz if asleep else board.truth.max_clock_hz
