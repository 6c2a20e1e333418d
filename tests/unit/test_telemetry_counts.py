"""What a round costs, in calls: they do not depend on the machine."""

import cProfile
import json
import pstats

import msgspec

from fleet.signals import SignalKind
from headrace.bench.scrape_exposition import vllm_page
from telemetry.exposition import FamilyReader
from telemetry.families import FAMILIES
from telemetry.queries import default_queries
from telemetry.query_answers import Entry, EntryValue
from telemetry.series import Pairing, SeriesBook

NAMES = [family.selector.encode() for family in FAMILIES]
# Measured: 89 for 14 samples.
PAGE_CALLS = 110
# Measured: 3.5, ages and values together.
SERIES_CALLS = 5.0


def calls_of(work):
    profile = cProfile.Profile()
    result = profile.runcall(work)
    return pstats.Stats(profile).total_calls, result


def test_a_page_costs_by_the_lines_that_are_wanted_and_not_by_those_that_are_not():
    reader, page = FamilyReader(NAMES), vllm_page(1.0)
    reader.read(page.at(1.0))
    filler = b"".join(b'vllm:e2e_bucket{le="%d"} 1.0\n' % edge for edge in range(1000))
    body = page.at(2.0)
    longer_body = filler + body + filler
    calls, exposition = calls_of(lambda: reader.read(body))
    longer_calls, longer = calls_of(lambda: reader.read(longer_body))
    assert longer == exposition
    assert len(exposition.samples) == 14
    assert longer_calls == calls
    assert calls <= PAGE_CALLS


def test_a_known_series_of_an_answer_costs_few_calls():
    (query,) = (it for it in default_queries().queries if it.kind is SignalKind.RUNNING_REQUESTS)
    book = SeriesBook(query)
    entries = [
        Entry(
            msgspec.Raw(json.dumps({"headrace_part": part, "instance": f"a:{number}"}).encode()),
            EntryValue(0.0, "3"),
        )
        for part in ("value-0", "age-0")
        for number in range(500)
    ]

    def read():
        pairing = Pairing(book)
        pairing.add(entries)
        return [*pairing.samples(evaluated_seconds=10.0)]

    read()
    calls, samples = calls_of(read)
    assert len(samples) == 500
    assert calls / len(entries) <= SERIES_CALLS
