"""Several workers as one: snapshots in pieces, one page of many, counters that never fall."""

from dataclasses import replace
from types import MappingProxyType

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from fleet.adapters import LoadedAdapters
from fleet.signals import Signal, SignalKind
from fleet.snapshot import FleetSnapshot
from fleet.topology import Fleet
from headrace.workers import messages
from headrace.workers.deltas import REPLICAS_PER_PART, Whole, parts_of
from headrace.workers.families import TOLD_BY_WORKERS, merged, told
from headrace.workers.messages import Family, Page, Sample, decode_down, encode, pack
from headrace.workers.series import summed
from headrace.workers.tally import Tally
from router.metering.series import Sums

FLEET = Fleet(())
values = st.floats(min_value=0.0, max_value=1e6)
addresses = st.integers(0, 2 * REPLICAS_PER_PART + 5).map(lambda n: f"10.0.0.{n}:8000")
readings = st.dictionaries(st.sampled_from(SignalKind), st.builds(Signal, values, values))
adapters = st.builds(
    LoadedAdapters,
    running=st.frozensets(st.sampled_from("abc")),
    waiting=st.frozensets(st.sampled_from("abc")),
    max_adapters=st.none() | st.integers(1, 8),
    observed_seconds=values,
)
changes = st.fixed_dictionaries(
    {
        "signals": st.dictionaries(addresses, readings, max_size=3 * REPLICAS_PER_PART),
        "gone": st.sets(addresses),
        "adapters": st.dictionaries(addresses, adapters, max_size=3),
        "restarts": st.dictionaries(addresses, st.integers(1, 9), max_size=3),
    }
)


def changed(snapshot, change):
    """The next snapshot: what has not changed keeps its object."""

    def kept(mapping):
        return {name: value for name, value in mapping.items() if name not in change["gone"]}

    return replace(
        snapshot,
        signals=MappingProxyType(
            kept(snapshot.signals)
            | {name: MappingProxyType(it) for name, it in change["signals"].items()}
        ),
        adapters=MappingProxyType(kept(snapshot.adapters) | change["adapters"]),
        restarts=MappingProxyType(change["restarts"]),
        published_seconds=snapshot.published_seconds + 1.0,
        version=snapshot.version + 1,
    )


def received(parts, receiver):
    """What a worker makes of messages on their way."""
    found = [receiver.add(decode_down(encode(part)), FLEET) for part in parts]
    assert not any(found[:-1])
    return found[-1]


def plain(snapshot):
    return replace(
        snapshot,
        signals={address: dict(it) for address, it in snapshot.signals.items()},
        adapters=dict(snapshot.adapters),
        restarts=dict(snapshot.restarts),
    )


@given(st.lists(changes, min_size=1, max_size=6), st.integers(0, 5))
@settings(max_examples=60)
def test_a_worker_has_the_parents_snapshots_whenever_it_came(story, joins_at):
    snapshot, last = FleetSnapshot(fleet=FLEET, published_seconds=0.0), None
    first, late = Whole(), None
    for number, change in enumerate(story):
        snapshot = changed(snapshot, change)
        parts, last = list(parts_of(snapshot, last)), snapshot
        assert received(parts, first) == plain(snapshot)
        assert all(len(part.signals) <= REPLICAS_PER_PART for part in parts)
        sent = [address for part in parts for address in part.signals]
        assert sorted(sent) == sorted(change["signals"])
        if late is not None:
            assert received(parts, late) == plain(snapshot)
        elif number >= joins_at:
            late = Whole()
            assert received(parts_of(snapshot, None), late) == plain(snapshot)


SUMMED = "headrace_router_picks"
LARGEST = "headrace_router_queue_oldest_age_seconds"
OWN = "headrace_router_degraded"


class Counts:
    """Metrics as a process of the router registers them."""

    def __init__(self):
        self.registry = CollectorRegistry()
        self.picks = Counter(SUMMED, "P.", ["backend"], registry=self.registry)
        self.wait = Histogram(
            "headrace_router_queue_wait_seconds", "W.", buckets=(1.0, 5.0), registry=self.registry
        )
        self.oldest = Gauge(LARGEST, "O.", registry=self.registry)
        self.degraded = Gauge(OWN, "D.", registry=self.registry)

    def told(self):
        found = [told(metric) for metric in self.registry.collect()]
        return [family for family in found if family is not None]


def samples(metrics):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for metric in metrics
        for sample in metric.samples
        if not sample.name.endswith("_created")
    }


counts = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from("xyz"), st.integers(1, 9)), max_size=30
)


@given(counts)
def test_one_page_of_many_is_that_of_one_that_had_counted_all(events):
    one, parent, workers = Counts(), Counts(), [Counts() for _ in range(3)]
    for worker, backend, value in events:
        for each in (one, workers[worker]):
            each.picks.labels(backend).inc(value)
            each.wait.observe(value)
            each.oldest.set(max(value, each.oldest._value.get()))
        workers[worker].degraded.set(value)  # the parent's own is told, and nobody else's
    page = merged(parent.registry.collect(), [worker.told() for worker in workers])
    assert samples(page) == samples(one.registry.collect())
    assert {SUMMED, LARGEST} <= TOLD_BY_WORKERS.keys()
    assert OWN not in TOLD_BY_WORKERS


def page_of(count):
    """A page on which everything is `count`."""
    sums = Sums()
    sums.ended["x"] = count
    for _ in range(count):
        sums.duration.add(1.0)
    family = Family(SUMMED, "P.", "counter", [Sample(SUMMED + "_total", {"b": "x"}, count)])
    gauge = Family(LARGEST, "O.", "gauge", [Sample(LARGEST, {}, count)])
    return Page(
        number=1,
        families=[family, gauge],
        entered=count,
        settled=count // 2,
        matched=count,
        expired=count,
        series=pack({("m", "b", "t"): sums}),
    )


def total_of(tally):
    return sum(
        sample.value
        for page in tally.families()
        for family in page
        if family.type == "counter"
        for sample in family.samples
    )


@given(st.lists(st.one_of(st.integers(0, 5), st.just("ends")), max_size=30))
def test_nothing_that_was_told_is_lost_when_processes_end(story):
    tally, count, past = Tally(), 0, 0
    for event in story:
        before = total_of(tally), tally.entered, tally.settled, tally.matched
        if event == "ends":
            tally.end()
            past, count = past + count, 0
            assert tally.settled == tally.entered  # the others have released what was open
        else:
            count += event
            tally.take(page_of(count))
        assert total_of(tally) == tally.entered == tally.matched == tally.expired == past + count
        assert (total_of(tally), tally.entered, tally.settled, tally.matched) >= before
        assert tally.settled >= before[2]
        sums = summed(tally.series()).get(("m", "b", "t"))
        ended = 0 if sums is None else sums.ended["x"]
        assert ended == past + count
        assert sums is None or sum(sums.duration.counts) == ended
    gauges = [f for page in tally.families() for f in page if f.type == "gauge"]
    assert len(gauges) <= 1  # of the process that is there, if any


@given(st.lists(st.integers(0, 9), max_size=5))
def test_summing_leaves_its_parts_alone(numbers):
    parts = [messages.unpack_series(page_of(number).series) for number in numbers]
    summed(parts)
    assert [part["m", "b", "t"].ended["x"] for part in parts] == numbers
