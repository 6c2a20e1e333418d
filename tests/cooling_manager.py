"""A cooling manager on loopback that speaks Redfish's Control: GET, and PATCH of its SetPoint."""

import asyncio
import json
from contextlib import asynccontextmanager

from aiohttp import web
from loopback_http import served_at

PATH = "/redfish/v1/ThermalEquipment/CRAHs/1/Controls/Supply"


class CoolingManager:
    """Holds a set-point, and does wrong what a test says.

    Attributes:
        set_celsius: In force.
        sensor_celsius: What its sensor says; None: the set-point, as of a plant that follows.
        failing: Method -> (status, body) that it answers instead.
        deaf: Takes orders and keeps what it had.
        gate: Answers wait for it.
        orders: Bodies of PATCH, in order.
    """

    def __init__(self, set_celsius=18.0):
        self.set_celsius = set_celsius
        self.sensor_celsius = None
        self.failing = {}
        self.raw = None
        self.deaf = False
        self.gate = None
        self.token = None
        self.orders = []
        self.asked = 0
        self.url = ""

    async def answer(self, request):
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if (
            self.token is not None
            and request.headers.get("Authorization") != f"Bearer {self.token}"
        ):
            return web.Response(status=401, text=f"no: {request.headers.get('Authorization')}")
        if request.method in self.failing:
            status, text = self.failing[request.method]
            return web.Response(status=status, text=text, headers={"Location": self.url})
        if request.method == "PATCH":
            body = await request.json()
            self.orders.append(body)
            if not self.deaf:
                self.set_celsius = body["SetPoint"]
            return web.Response(status=204)
        if self.raw is not None:
            return web.Response(text=self.raw)
        sensor = self.set_celsius if self.sensor_celsius is None else self.sensor_celsius
        document = {
            "@odata.id": PATH,
            "SetPoint": self.set_celsius,
            "SetPointUnits": "Cel",
            "Sensor": {"Reading": sensor},
        }
        return web.Response(text=json.dumps(document), content_type="application/json")

    def written(self):
        return [one["SetPoint"] for one in self.orders]


@asynccontextmanager
async def cooling_manager(**fields):
    manager = CoolingManager(**fields)
    async with served_at(manager.answer) as url:
        manager.url = f"{url}{PATH}"
        try:
            yield manager
        finally:
            if manager.gate is not None:
                manager.gate.set()
            await asyncio.sleep(0)
