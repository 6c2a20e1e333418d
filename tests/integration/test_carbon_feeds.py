"""Carbon feeds against servers on loopback that speak the providers' JSON."""

import asyncio
import logging

import aiocache
import pytest
from carbon_servers import (
    HOUR,
    HOUR_START,
    NOW,
    PASSWORD,
    TOKEN,
    USER,
    carbon_server,
    maps_forecast,
    maps_latest,
    settled,
    uk_row,
    watttime_points,
)
from telemetry_harness import free_port

from telemetry.carbon.building import FeedSettings, feed_of
from telemetry.carbon.slots import IntensityKind


@pytest.fixture
async def server():
    async with carbon_server() as running:
        running.answers = {
            "national": {
                "data": [uk_row(HOUR_START, 266, 263)]
                + [uk_row(HOUR_START + 1800 * half, 200 + half) for half in range(1, 97)]
            },
            "regional": {
                "data": {
                    "regionid": 13,
                    "shortname": "London",
                    "data": [uk_row(HOUR_START + 1800 * half, 100 + half) for half in range(96)],
                }
            },
            "latest": maps_latest(300),
            "forecast": maps_forecast([310 + hour for hour in range(24)]),
            "historical": watttime_points([900, 1000], start=NOW - 300),
        }
        yield running


@pytest.fixture
async def feed(server):
    made = []

    def build(type_, *, cache=None, **fields):
        defaults = {
            "UKCarbonIntensity": ("", {}),
            "ElectricityMaps": ("/maps", {"zone": "DE", "credential": TOKEN}),
            "WattTime": ("", {"zone": "CAISO_NORTH", "credential": f"{USER}:{PASSWORD}"}),
        }
        path, usual = defaults[type_]
        settings = FeedSettings(
            **{"type": type_, "base_url": f"{server.url}{path}", "timeout_seconds": 5.0}
            | usual
            | fields
        )
        made.append(feed_of(settings, environ={}, cache=cache))
        return made[-1]

    yield build
    for one in made:
        await one.aclose()


async def test_uk_intensity_and_48_hours_come_with_one_question(server, feed):
    reading = await feed("UKCarbonIntensity").read(now_epoch_seconds=NOW)
    assert (reading.grams_per_kilowatt_hour, reading.estimated) == (263.0, False)
    assert (len(reading.slots), reading.kind) == (97, IntensityKind.AVERAGE)
    assert server.queries == [("/intensity/2023-11-14T22:15Z/fw48h", {})]


async def test_a_uk_region_is_asked_for_by_its_id(server, feed):
    reading = await feed("UKCarbonIntensity", zone="13").read(now_epoch_seconds=NOW)
    assert (reading.grams_per_kilowatt_hour, reading.estimated) == (100.0, True)
    [(path, _)] = server.queries
    assert path == "/regional/intensity/2023-11-14T22:15Z/fw48h/regionid/13"


async def test_electricity_maps_gives_latest_and_forecast(server, feed):
    reading = await feed("ElectricityMaps").read(now_epoch_seconds=NOW)
    assert (reading.grams_per_kilowatt_hour, len(reading.slots)) == (300.0, 24)
    assert reading.slots[1].grams_per_kilowatt_hour == 311.0
    assert reading.age_seconds == NOW - HOUR_START - 600.0
    assert server.queries[0] == ("/maps/carbon-intensity/latest", {"zone": "DE"})
    assert server.queries[1][1] == {"zone": "DE", "horizonHours": "24"}


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_plan_without_forecast_is_asked_for_it_once_a_day(server, feed, status):
    server.failing["forecast"] = (status, {})
    one = feed("ElectricityMaps")
    for half_hours in range(3):
        server.answers["latest"] = maps_latest(300 + half_hours)
        reading = await settled(one, now=NOW + 1800.0 * half_hours)
        assert reading.grams_per_kilowatt_hour == 300.0 + half_hours
        assert reading.problem == (
            f"There is no forecast: Electricity Maps answered {status}: not now."
        )
    assert (server.count("latest"), server.count("forecast")) == (3, 1)
    server.failing.clear()
    server.answers["latest"] = maps_latest(400, start=HOUR_START + 86_400)
    server.answers["forecast"] = maps_forecast([1, 2, 3], start=HOUR_START + 86_400)
    reading = await settled(one, now=NOW + 86_400.0)
    assert ([slot.grams_per_kilowatt_hour for slot in reading.slots], reading.problem) == (
        [400.0, 2.0, 3.0],
        None,
    )


async def test_a_forecast_over_quota_leaves_the_one_before_and_waits_as_told(server, feed):
    one = feed("ElectricityMaps")
    await one.read(now_epoch_seconds=NOW)
    server.failing["forecast"] = (429, {"Retry-After": "5400"})
    server.answers["latest"] = maps_latest(305, start=HOUR_START + HOUR)
    reading = await settled(one, now=NOW + HOUR)
    assert (reading.grams_per_kilowatt_hour, len(reading.slots)) == (305.0, 23)
    assert reading.slots[-1].grams_per_kilowatt_hour == 333.0
    assert reading.problem == "There is no forecast: Electricity Maps answered 429: not now."
    await settled(one, now=NOW + HOUR + 5399)
    assert server.count("latest") == 2
    await settled(one, now=NOW + HOUR + 5400)
    assert server.count("latest") == 3


@pytest.mark.parametrize(
    ("status", "retry_after", "asked_again_seconds"),
    [(401, None, 60), (403, None, 60), (404, None, 60), (429, "900", 900), (503, "2", 60)],
)
async def test_a_refusal_is_said_and_repeated_when_it_is_polite(
    server, feed, status, retry_after, asked_again_seconds
):
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    server.failing["latest"] = (status, headers)
    one = feed("ElectricityMaps")
    reading = await one.read(now_epoch_seconds=NOW)
    assert reading.grams_per_kilowatt_hour is None
    assert reading.reason == f"Electricity Maps answered {status}: not now."
    await settled(one, now=NOW + asked_again_seconds - 1)
    assert server.count("latest") == 1
    server.failing.clear()
    assert (await settled(one, now=NOW + asked_again_seconds)).grams_per_kilowatt_hour == 300.0
    assert server.count("latest") == 2


async def test_an_answer_serves_while_the_next_one_is_on_its_way(server, feed):
    one = feed("UKCarbonIntensity")
    assert (await one.read(now_epoch_seconds=NOW)).grams_per_kilowatt_hour == 263.0
    await one.read(now_epoch_seconds=NOW + 1799)
    assert server.count("national") == 1
    server.gate = asyncio.Event()
    server.answers["national"] = {"data": [uk_row(HOUR_START + 1800, 1, 1)]}
    stale = [await one.read(now_epoch_seconds=NOW + 1800) for _ in range(5)]
    assert {reading.grams_per_kilowatt_hour for reading in stale} == {201.0}
    server.gate.set()
    assert (await settled(one, now=NOW + 1801)).grams_per_kilowatt_hour == 1.0
    assert server.count("national") == 2


async def test_many_readers_share_the_first_question_and_one_may_leave(server, feed):
    server.gate = asyncio.Event()
    one = feed("UKCarbonIntensity")
    readers = [asyncio.ensure_future(one.read(now_epoch_seconds=NOW)) for _ in range(20)]
    while not server.asked:
        await asyncio.sleep(0.01)
    readers[0].cancel()
    server.gate.set()
    done = await asyncio.gather(*readers, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert [reading.grams_per_kilowatt_hour for reading in done[1:]] == [263.0] * 19
    assert server.asked == ["national"]


async def test_feeds_with_one_cache_share_their_answers(server, feed):
    cache = aiocache.SimpleMemoryCache(namespace="test-carbon")
    for _ in range(2):
        reading = await feed("UKCarbonIntensity", cache=cache).read(now_epoch_seconds=NOW)
        assert reading.grams_per_kilowatt_hour == 263.0
    assert server.count("national") == 1
    await cache.clear()


async def test_what_another_version_left_in_a_shared_cache_is_passed_over(feed):
    cache = aiocache.SimpleMemoryCache(namespace="test-carbon-other")
    one = feed("UKCarbonIntensity", cache=cache)
    await cache.set(one._key, '{"slots": "of another form"}')  # where that version would put it
    assert (await one.read(now_epoch_seconds=NOW)).grams_per_kilowatt_hour == 263.0
    await cache.clear()


async def test_a_lost_provider_leaves_its_forecast_until_the_last_slot(server, feed, caplog):
    one = feed("UKCarbonIntensity")
    end = HOUR_START + 1800 * 97
    await one.read(now_epoch_seconds=NOW)
    server.failing["national"] = (500, {})
    with caplog.at_level(logging.INFO, logger="telemetry.carbon"):
        held = [await settled(one, now=NOW + HOUR * hour) for hour in range(1, 48)]
        assert [reading.grams_per_kilowatt_hour for reading in held] == [
            200.0 + 2 * hour for hour in range(1, 48)
        ]
        assert all("answered 500: not now." in reading.problem for reading in held)
        assert (await settled(one, now=end - 1)).grams_per_kilowatt_hour == 296.0
        over = await settled(one, now=end + 60)
        assert (over.grams_per_kilowatt_hour, over.slots) == (None, ())
        assert over.reason.startswith("UK Carbon Intensity: the last figure ended 1 min ago. UK")
        server.failing.clear()
        server.answers["national"] = {"data": [uk_row(end, 50, 51)]}
        assert (await settled(one, now=end + 1799)).grams_per_kilowatt_hour == 51.0
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "carbon intensity: UK Carbon Intensity answered 500: not now.",
        "carbon intensity: UK Carbon Intensity answers again.",
    ]


async def test_failures_are_repeated_less_and_less_often(server, feed):
    server.failing["national"] = (500, {})
    one = feed("UKCarbonIntensity")
    for second in range(0, 4000, 20):
        await settled(one, now=NOW + second)
    # At 0, then after 60, 120, 240, 480, 960 and the refresh interval of 1800 s.
    assert server.count("national") == 7


async def test_a_clock_that_is_stepped_back_does_not_silence_the_feed(server, feed):
    one = feed("UKCarbonIntensity")
    await one.read(now_epoch_seconds=NOW + 40 * HOUR)
    assert (await settled(one, now=NOW)).age_seconds == 0.0
    assert server.count("national") == 2


async def test_a_clock_that_is_wrong_is_named(feed):
    early = await feed("UKCarbonIntensity").read(now_epoch_seconds=NOW - 86_400)
    assert "begins 23 h 45 min after now; the clock here or there may be wrong." in early.reason
    late = await feed("UKCarbonIntensity").read(now_epoch_seconds=NOW + 30 * 86_400)
    assert "the last figure ended" in late.reason


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"error":{"code":"400 Bad Request","message":"Please enter a valid date."}}', "valid"),
        (b'{"message":"quota"}', "answered with an error: quota."),
        (b"<html>maintenance</html>", "has not the documented form"),
        (b'{"data":[]}', "no intensity between 0 and 5000 g/kWh in any of its 0 entries"),
        (b'{"data":' + b" " * 5_000_000 + b"[]}", "longer than 4194304 bytes"),
    ],
)
async def test_a_200_that_is_no_answer_is_named(server, feed, raw, words):
    server.raw["national"] = raw
    reading = await feed("UKCarbonIntensity").read(now_epoch_seconds=NOW)
    assert reading.grams_per_kilowatt_hour is None
    assert words in reading.reason


async def test_absurd_values_are_gaps_that_are_told(server, feed):
    rows = [uk_row(HOUR_START, 100, -5), uk_row(HOUR_START + 1800, 9e18)]
    server.answers["national"] = {"data": [*rows, uk_row(HOUR_START + 3600, 90)]}
    reading = await feed("UKCarbonIntensity").read(now_epoch_seconds=NOW)
    assert [slot.grams_per_kilowatt_hour for slot in reading.slots] == [90.0]
    assert reading.grams_per_kilowatt_hour is None
    assert reading.problem == "UK Carbon Intensity: 2 impossible values were left out."


async def test_nobody_there_and_nobody_answering_are_reasons(server, feed):
    nowhere = f"http://127.0.0.1:{free_port()}"
    reading = await feed("UKCarbonIntensity", base_url=nowhere).read(now_epoch_seconds=NOW)
    assert reading.reason.startswith("UK Carbon Intensity cannot be reached: ")
    server.gate = asyncio.Event()
    reading = await feed("UKCarbonIntensity", timeout_seconds=0.1).read(now_epoch_seconds=NOW)
    assert reading.reason == "UK Carbon Intensity did not answer within 0.1 s."
    server.gate.set()


async def test_watttime_is_marginal_measured_then_forecast(server, feed):
    server.answers["forecast"] = watttime_points([800] * 288, start=NOW)
    reading = await feed("WattTime").read(now_epoch_seconds=NOW + 60)
    assert reading.kind is IntensityKind.MARGINAL
    assert reading.grams_per_kilowatt_hour == pytest.approx(453.59237)
    assert reading.slots[1].grams_per_kilowatt_hour == pytest.approx(362.873896)
    assert server.asked == ["login", "forecast", "historical"]
    assert server.queries[1][1]["signal_type"] == "co2_moer"


async def test_a_watttime_token_is_renewed_in_time_and_when_it_is_refused(server, feed):
    server.answers["forecast"] = watttime_points([800] * 288, start=NOW)
    one = feed("WattTime", refresh_seconds=600.0)
    for minutes in (0, 10, 20):
        await settled(one, now=NOW + 60 * minutes)
    assert (server.logins, server.count("forecast")) == (1, 3)
    await settled(one, now=NOW + 1800)
    assert (server.logins, server.count("forecast")) == (2, 4)
    server.forget_tokens()
    reading = await settled(one, now=NOW + 2400)
    assert (server.logins, server.count("forecast"), reading.problem) == (3, 6, None)


async def test_watttime_without_its_forecast_lives_on_measured_figures(server, feed):
    server.failing["forecast"] = (403, {})
    reading = await feed("WattTime").read(now_epoch_seconds=NOW)
    assert reading.grams_per_kilowatt_hour == pytest.approx(453.59237)
    assert reading.problem == "There is no forecast: WattTime answered 403: not now."
    assert reading.slots[-1].end_epoch_seconds == NOW + 1800


async def test_watttime_that_shows_neither_is_a_reason(server, feed):
    server.failing |= {"forecast": (403, {}), "historical": (403, {})}
    reading = await feed("WattTime").read(now_epoch_seconds=NOW)
    assert reading.reason == "WattTime answered 403: not now."


async def test_watttime_out_of_quota_is_not_asked_the_next_question(server, feed):
    server.failing["forecast"] = (429, {"Retry-After": "300"})
    reading = await feed("WattTime").read(now_epoch_seconds=NOW)
    assert reading.reason == "WattTime answered 429: not now."
    assert server.asked == ["login", "forecast"]


async def test_a_wrong_key_is_asked_about_once_and_appears_nowhere(server, feed, caplog):
    with caplog.at_level(logging.DEBUG):
        texts = []
        for type_, key in (("WattTime", "freddo:wrong-5511"), ("ElectricityMaps", "wrong-5511")):
            one = feed(type_, credential=key)
            reading = await one.read(now_epoch_seconds=NOW)
            texts += [reading.reason, str(reading), repr(one)]
            assert "answered 401: bad" in reading.reason
    assert server.asked == ["login", "latest"]
    assert "wrong-5511" not in " ".join([*texts, caplog.text])
    assert "***" in texts[3]


async def test_another_zone_than_the_asked_one_is_refused(server, feed):
    server.answers["latest"] = maps_latest(300, zone="FR")
    reading = await feed("ElectricityMaps").read(now_epoch_seconds=NOW)
    assert reading.reason == "Electricity Maps answered for zone 'FR', zone 'DE' was asked for."
