"""A loopback HTTP server that answers range queries as Prometheus does, with scripted series."""

from contextlib import asynccontextmanager

from aiohttp import web
from loopback_http import served_at


class RangeServer:
    """Answers /api/v1/query_range.

    Attributes:
        series: (labels, value at an epoch time or None) pairs; a test may change them.
        status: HTTP status of the answers.
        asked: (start, end, step) of each question.
    """

    def __init__(self):
        self.series = []
        self.status = 200
        self.asked = []
        self.url = ""

    async def answer(self, request):
        told = {**request.query, **(await request.post())}
        start, end = float(told["start"]), float(told["end"])
        step = float(told["step"].removesuffix("s"))
        self.asked.append((start, end, step))
        if self.status != 200:
            return web.json_response({"status": "error", "error": "broken"}, status=self.status)
        times = [start + number * step for number in range(int((end - start) // step) + 1)]
        result = []
        for labels, value in self.series:
            values = [[at, str(watts)] for at in times if (watts := value(at)) is not None]
            if values:
                result.append({"metric": labels, "values": values})
        data = {"resultType": "matrix", "result": result}
        return web.json_response({"status": "success", "data": data})


@asynccontextmanager
async def range_server():
    """One that listens."""
    server = RangeServer()
    async with served_at(server.answer, "/api/v1/query_range") as server.url:
        yield server
