"""A GPU board as dcgm-exporter tells of it."""

import time

from telemetry_harness import Exporter


class Board(Exporter):
    """A GPU whose energy counter runs at as many watts as a test says."""

    def __init__(self, watts):
        super().__init__()
        self._watts = watts
        self._joules = 0.0
        self._since_seconds = time.monotonic()

    def draw(self, watts):
        self._count()
        self._watts = watts

    def _count(self):
        now_seconds = time.monotonic()
        self._joules += self._watts * (now_seconds - self._since_seconds)
        self._since_seconds = now_seconds

    async def _answer(self, request):
        self._count()
        millijoules = 1000.0 * self._joules
        self.expose(f'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{gpu="0"}} {millijoules:.3f}')
        return await super()._answer(request)
