"""Carbon providers on loopback that speak the documented JSON, for the tests of the feeds."""

import asyncio
from base64 import b64encode
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from aiohttp import web
from loopback_http import served_at

NOW = 1_700_000_100.0  # 2023-11-14T22:15:00Z, a quarter past
HOUR_START = 1_699_999_200.0
HOUR = 3600.0
TOKEN = "em-token-5f2c"
USER, PASSWORD = "freddo", "frog-7781"


def text_of(epoch, *, form="%Y-%m-%dT%H:%M:%S.000Z"):
    return datetime.fromtimestamp(epoch, UTC).strftime(form)


def uk_row(start, forecast, actual=None, **intensity):
    form = "%Y-%m-%dT%H:%MZ"
    return {
        "from": text_of(start, form=form),
        "to": text_of(start + 1800, form=form),
        "intensity": {"forecast": forecast, "actual": actual, "index": "moderate", **intensity},
    }


def maps_latest(grams, *, start=HOUR_START, zone="DE", **changes):
    return {
        "zone": zone,
        "carbonIntensity": grams,
        "datetime": text_of(start),
        "updatedAt": text_of(start + 600),
        "createdAt": text_of(start - 86_400),
        "emissionFactorType": "lifecycle",
        "isEstimated": False,
        "estimationMethod": None,
        **changes,
    }


def maps_forecast(grams, *, start=HOUR_START, zone="DE"):
    return {
        "zone": zone,
        "forecast": [
            {"carbonIntensity": value, "datetime": text_of(start + HOUR * hour)}
            for hour, value in enumerate(grams)
        ],
        "updatedAt": text_of(start),
    }


def watttime_points(pounds, *, start=HOUR_START + 900, region="CAISO_NORTH", **meta):
    return {
        "meta": {
            "region": region,
            "signal_type": "co2_moer",
            "model": {"date": "2023-03-01"},
            "units": "lbs_co2_per_mwh",
            "data_point_period_seconds": 300,
            "warnings": [],
            "generated_at_period_seconds": 300,
            **meta,
        },
        "data": [
            {
                "point_time": text_of(start + 300 * index, form="%Y-%m-%dT%H:%M:%S+00:00"),
                "value": value,
                "version": "3.2",
            }
            for index, value in enumerate(pounds)
        ],
    }


class CarbonServer:
    """All three APIs; answers are JSON bodies by the part of the path that names the question."""

    def __init__(self):
        self.answers = {}
        self.failing = {}  # question -> (status, headers), tried first
        self.raw = {}  # question -> body as bytes
        self.asked = []
        self.queries = []
        self.logins = 0
        self.tokens = set()
        self.gate = None
        self.url = ""

    def count(self, question):
        return self.asked.count(question)

    def forget_tokens(self):
        self.tokens.clear()

    async def answer(self, request):
        question = self._question(request)
        self.asked.append(question)
        self.queries.append((request.path, dict(request.query)))
        if self.gate is not None:
            await self.gate.wait()
        if question in self.failing:
            status, headers = self.failing[question]
            return web.json_response({"error": "not now"}, status=status, headers=headers)
        if not self._allowed(request):
            return web.json_response({"message": f"bad {request.headers}"}, status=401)
        if question == "login":
            self.logins += 1
            self.tokens.add(f"bearer-{self.logins}")
            return web.json_response({"token": f"bearer-{self.logins}"})
        if question in self.raw:
            return web.Response(body=self.raw[question], content_type="application/json")
        return web.json_response(self.answers[question])

    def _question(self, request):
        if request.path.endswith("/login"):
            return "login"
        if "/intensity/" in request.path:
            return "regional" if "/regional/" in request.path else "national"
        return request.path.rpartition("/")[2]

    def _allowed(self, request):
        if request.path.startswith("/maps"):
            return request.headers.get("auth-token") == TOKEN
        if request.path.endswith("/login"):
            basic = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            return request.headers.get("Authorization") == f"Basic {basic}"
        if request.path.startswith("/v3"):
            return request.headers.get("Authorization", "").removeprefix("Bearer ") in self.tokens
        return True


@asynccontextmanager
async def carbon_server():
    server = CarbonServer()
    async with served_at(server.answer) as server.url:
        yield server


async def settled(feed, *, now):
    """A reading after the fetch that the first one may have started in the background."""
    await feed.read(now_epoch_seconds=now)
    for _ in range(200):
        if feed._fetching is None or feed._fetching.done():  # to wait for it and nothing else
            break
        await asyncio.sleep(0.01)
    return await feed.read(now_epoch_seconds=now)
