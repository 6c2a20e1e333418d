"""Prometheus as a source: ages, caching, and every way in which it can be broken."""

import asyncio
import contextlib
import socket
import threading
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from loopback_http import served_at
from telemetry_harness import (
    ManualClock,
    PrometheusServer,
    exporters,
    fleet_of,
    free_port,
    replica_at,
    until,
)

from fleet.signals import SignalKind
from telemetry.prometheus_source import PrometheusSource
from telemetry.promql import PrometheusQuerier, PrometheusSettings, QueryError
from telemetry.queries import default_queries
from telemetry.reading import FailureReason
from telemetry.system_clock import SystemClock

RUNNING = SignalKind.RUNNING_REQUESTS


@asynccontextmanager
async def querier_of(url, *, clock=None, **changes):
    settings = PrometheusSettings(
        url=url, **{"timeout_seconds": 0.5, "cache_seconds": 0.02, **changes}
    )
    querier = PrometheusQuerier(settings, clock or SystemClock())
    try:
        yield querier
    finally:
        await querier.aclose()


def scripted(handler):
    """A server that speaks what a broken Prometheus or proxy might; yields its URL."""
    return served_at(handler, "/api/v1/query")


def vector(*rows):
    return web.json_response({"status": "success", "data": {"result": list(rows)}})


async def reason_of(querier, promql="up"):
    with pytest.raises(QueryError) as caught:
        await querier.ask(promql)
    return caught.value.reason


@asynccontextmanager
async def scraped_engine(folder, *, interval):
    async with exporters(1) as (engine,):
        engine.expose('vllm:num_requests_running{engine="0"} 3')
        server = PrometheusServer(folder, {"vllm": ([engine.address], {})}, interval=interval)
        await server.start()
        try:
            yield engine, server
        finally:
            await server.stop()


@pytest.mark.prometheus
async def test_a_reading_keeps_the_time_of_its_scrape_however_often_it_is_asked_for(tmp_path):
    async with (
        scraped_engine(tmp_path, interval="5s") as (engine, server),
        querier_of(server.url) as querier,
    ):
        source = PrometheusSource(querier, SystemClock())
        fleet = fleet_of(replica_at(engine.address))

        async def observed():
            report = await source.collect(fleet)
            return [each.observed_seconds for each in report.readings if each.kind is RUNNING]

        await until(observed, seconds=20)
        hits, last = engine.hits, await observed()
        for _ in range(4):
            await asyncio.sleep(0.3)
            again = await observed()
            if engine.hits == hits:  # no new scrape in between: the very same sample
                assert again == pytest.approx(last, abs=0.2)
            hits, last = engine.hits, again


@pytest.mark.prometheus
async def test_a_query_prometheus_refuses_costs_only_its_own_signal(tmp_path):
    async with (
        scraped_engine(tmp_path, interval="200ms") as (engine, server),
        querier_of(server.url) as querier,
    ):
        queries = default_queries().overridden(SignalKind.POWER_WATTS, "sum by (((")
        source = PrometheusSource(querier, SystemClock(), queries=queries)
        fleet = fleet_of(replica_at(engine.address))

        async def running():
            report = await source.collect(fleet)
            return report if any(each.kind is RUNNING for each in report.readings) else None

        report = await until(running)
        refused = report.outcomes["power_watts"]
        assert refused.reason is FailureReason.HTTP_4XX
        assert "parse error" in refused.detail
        failed = [target for target, outcome in report.outcomes.items() if outcome.reason]
        assert failed == ["power_watts"]


@pytest.mark.prometheus
async def test_a_scalar_is_not_an_instant_vector(tmp_path):
    async with (
        scraped_engine(tmp_path, interval="200ms") as (_, server),
        querier_of(server.url) as querier,
    ):

        async def scraped():
            return (await querier.ask("up")).rows

        await until(scraped)
        assert await reason_of(querier, "time()") is FailureReason.MALFORMED
        assert await reason_of(querier, "up[1m]") is FailureReason.MALFORMED


async def test_askers_share_one_answer_and_it_reaches_each_with_its_true_age():
    hits = 0

    async def handler(_request):
        nonlocal hits
        hits += 1
        await asyncio.sleep(0.05)
        labels = {"instance": "a:1"}
        return vector(
            {"metric": {**labels, "headrace_part": "value-0"}, "value": [0, "3"]},
            {"metric": {**labels, "headrace_part": "age-0"}, "value": [0, "2.5"]},
        )

    clock = ManualClock(monotonic_seconds=1000.0)
    fleet = fleet_of(replica_at("a:1"))
    async with scripted(handler) as url, querier_of(url, clock=clock, cache_seconds=60) as querier:
        queries = default_queries()
        only_running = [query for query in queries.queries if query.kind is RUNNING]
        queries = type(queries)(queries=tuple(only_running))
        router = PrometheusSource(querier, clock, queries=queries)
        capper = PrometheusSource(querier, clock, queries=queries)
        first, second = await asyncio.gather(router.collect(fleet), capper.collect(fleet))
        clock.advance(30.0)
        third = await router.collect(fleet)
    assert hits == 1
    observed = [report.readings[0].observed_seconds for report in (first, second, third)]
    assert observed == pytest.approx([997.5, 997.5, 997.5])


async def test_an_answer_is_asked_for_again_once_its_time_is_over():
    hits = 0

    async def handler(_request):
        nonlocal hits
        hits += 1
        return vector()

    async with scripted(handler) as url, querier_of(url, cache_seconds=0.05) as querier:
        await querier.ask("up")
        await asyncio.sleep(0.2)
        await querier.ask("up")
    assert hits == 2


async def test_nobody_listening_is_refused_for_every_query_at_once():
    async with querier_of(f"http://127.0.0.1:{free_port()}") as querier:
        report = await PrometheusSource(querier, SystemClock()).collect(fleet_of(replica_at("a:1")))
    assert report.readings == ()
    assert {outcome.reason for outcome in report.outcomes.values()} == {FailureReason.REFUSED}
    assert len({outcome.detail for outcome in report.outcomes.values()}) == 1  # one log line


async def test_a_hung_prometheus_ends_at_the_deadline_and_never_holds_the_event_loop():
    async def handler(_request):
        await asyncio.sleep(30)

    async with scripted(handler) as url, querier_of(url, timeout_seconds=0.4) as querier:
        source = PrometheusSource(querier, SystemClock(), timeout_seconds=0.4)
        collecting = asyncio.ensure_future(source.collect(fleet_of(replica_at("a:1"))))
        turns = 0
        while not collecting.done():
            await asyncio.sleep(0.01)
            turns += 1
        report = await collecting
    assert {outcome.reason for outcome in report.outcomes.values()} == {FailureReason.TIMEOUT}
    assert turns > 5


async def test_an_answer_that_trickles_in_is_given_up_and_its_thread_comes_back():
    async def handler(request):
        if "trickle" not in request.query["query"]:
            return vector()
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(300):
            await response.write(b" ")
            await asyncio.sleep(0.1)
        return response

    async with scripted(handler) as url, querier_of(url, threads=1) as querier:
        assert await reason_of(querier, "trickle") is FailureReason.TIMEOUT
        assert (await querier.ask("up")).rows == []


async def test_an_endless_answer_is_cut():
    async def handler(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b" " * 65536)
        return response

    async with scripted(handler) as url, querier_of(url, max_body_bytes=1_000_000) as querier:
        assert await reason_of(querier) is FailureReason.TOO_LARGE


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (200, "<html>login</html>", FailureReason.MALFORMED),
        (200, "[]", FailureReason.MALFORMED),
        (200, '{"data": {"result": [{"metric": 1, "value": [0, "1"]}]}}', FailureReason.MALFORMED),
        (200, '{"data": {"result": [{"metric": {}, "value": "x"}]}}', FailureReason.MALFORMED),
        (200, '{"data": null}', FailureReason.MALFORMED),
        (401, "no", FailureReason.HTTP_4XX),
        (502, "<html>" + "x" * 10_000, FailureReason.HTTP_5XX),
    ],
)
async def test_whatever_a_proxy_answers_becomes_a_reason(status, text, reason):
    async def handler(_request):
        return web.Response(status=status, text=text)

    async with scripted(handler) as url, querier_of(url) as querier:
        assert await reason_of(querier) is reason


@pytest.mark.parametrize(
    "bad", [{"metric": 1, "value": [0, "1"]}, {"metric": {}, "value": [0, "x"]}]
)
async def test_one_series_of_many_that_cannot_be_read_costs_the_signal_and_no_other(bad):
    async def handler(request):
        age = {"metric": {"instance": "a:1", "headrace_part": "age-0"}, "value": [0, "1"]}
        good = {"metric": {"instance": "a:1", "headrace_part": "value-0"}, "value": [0, "3"]}
        if "requests_waiting" in request.query["query"]:
            return vector(age, good, bad)
        return vector(age, good)

    async with scripted(handler) as url, querier_of(url) as querier:
        with pytest.raises(QueryError):
            _ = (await querier.ask("requests_waiting")).rows
        report = await PrometheusSource(querier, SystemClock()).collect(fleet_of(replica_at("a:1")))
    failed = {target for target, outcome in report.outcomes.items() if outcome.reason is not None}
    assert failed == {"waiting_requests"}
    assert report.outcomes["waiting_requests"].reason is FailureReason.MALFORMED
    assert RUNNING in {reading.kind for reading in report.readings}


async def test_a_connection_that_breaks_off_is_told_from_a_refusal():
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    over = threading.Event()

    def slam():
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                connection.close()

    slammer = threading.Thread(target=slam)
    slammer.start()
    async with querier_of(f"http://127.0.0.1:{listener.getsockname()[1]}") as querier:
        assert await reason_of(querier, "a") is FailureReason.CONNECTION
        assert await reason_of(querier, "b") is FailureReason.CONNECTION
    over.set()
    slammer.join(5)
    listener.close()


async def test_only_histories_take_threads_and_closing_leaves_none_behind():
    async def handler(_request):
        return vector()

    def threads():
        return [one for one in threading.enumerate() if "promql" in one.name]

    async with scripted(handler) as url, querier_of(url) as querier:
        await querier.ask("up")
        assert not threads()
        with pytest.raises(QueryError):  # there is no such path here
            await querier.ranges().ask(
                "up", start_epoch_seconds=0.0, end_epoch_seconds=60.0, step_seconds=15.0
            )
        assert threads()
    assert not threads()


async def test_a_thousand_answers_come_over_as_many_connections_as_are_in_flight():
    connections = set()

    async def handler(request):
        connections.add(request.transport.get_extra_info("peername"))
        return vector()

    async with scripted(handler) as url, querier_of(url, threads=3) as querier:
        for number in range(0, 60, 6):
            await asyncio.gather(*(querier.ask(f"up{each}") for each in range(number, number + 6)))
    assert 1 <= len(connections) <= 3


async def test_a_large_answer_leaves_everybody_else_their_turn():
    addresses = [f"a:{number}" for number in range(10_000)]
    rows = [
        {"metric": {"instance": address, "headrace_part": f"{part}-0"}, "value": [0, "3"]}
        for address in addresses
        for part in ("value", "age")
    ]

    async def handler(_request):
        return vector(*rows)

    async with (
        scripted(handler) as url,
        querier_of(url, timeout_seconds=20.0, cache_seconds=60.0) as querier,
    ):
        queries = default_queries()
        only_running = tuple(query for query in queries.queries if query.kind is RUNNING)
        source = PrometheusSource(
            querier,
            SystemClock(),
            queries=type(queries)(queries=only_running),
            timeout_seconds=20.0,
        )
        fleet = fleet_of(*map(replica_at, addresses))
        await source.collect(fleet)
        again = asyncio.ensure_future(source.collect(fleet))  # cached: what is left is our part
        turns = 0
        while not again.done():
            await asyncio.sleep(0)
            turns += 1
    assert len(again.result().readings) == len(addresses)
    assert turns > 2 * len(addresses) / 1024
