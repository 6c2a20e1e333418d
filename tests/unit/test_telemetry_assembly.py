from telemetry_harness import fleet_of, replica_at

from fleet.adapters import LoadedAdapters
from fleet.signals import SignalKind
from telemetry.assembly import Assembly, portions
from telemetry.counters import RateWindow
from telemetry.reading import Reading, RejectionReason, SourceReport

RUNNING, WATTS = SignalKind.RUNNING_REQUESTS, SignalKind.POWER_WATTS
TOKENS, RATE = SignalKind.GENERATION_TOKENS_TOTAL, SignalKind.GENERATION_TOKENS_PER_SECOND
A, B = replica_at("a:1"), replica_at("b:1")


def report(*readings):
    return SourceReport(readings=tuple(Reading(*each) for each in readings))


def assembled(fleet=None):
    return Assembly(fleet or fleet_of(A, B), RateWindow(min_seconds=1.0))


def absorb(assembly, source, *readings, collected_for=None):
    fleet = collected_for or assembly.fleet
    return assembly.absorb(source, report(*readings), collected_for=fleet)


def test_the_freshest_reading_of_each_signal_wins_whoever_brings_it():
    assembly = assembled()
    absorb(assembly, "scrape", ("a:1", RUNNING, 5, 10.0))
    absorb(assembly, "prometheus", ("a:1", RUNNING, 9, 4.0), ("a:1", WATTS, 300, 4.0))
    snapshot = assembly.snapshot(now_seconds=11.0, version=3)
    assert snapshot.signal("a:1", RUNNING) == (5, 10.0)
    assert snapshot.signal("a:1", WATTS) == (300, 4.0)
    assert (snapshot.version, snapshot.published_seconds) == (3, 11.0)


def test_a_signal_that_is_not_seen_again_stays_with_its_own_time():
    assembly = assembled()
    absorb(assembly, "scrape", ("a:1", RUNNING, 5, 10.0))
    absorb(assembly, "scrape", ("b:1", RUNNING, 7, 20.0))
    snapshot = assembly.snapshot(now_seconds=20.0, version=1)
    assert snapshot.signal("a:1", RUNNING) == (5, 10.0)


def test_a_published_snapshot_does_not_change_afterwards():
    assembly = assembled()
    absorb(assembly, "scrape", ("a:1", RUNNING, 5, 10.0))
    before = assembly.snapshot(now_seconds=10.0, version=1)
    absorb(assembly, "scrape", ("a:1", RUNNING, 6, 11.0), ("b:1", RUNNING, 1, 11.0))
    assert before.signal("a:1", RUNNING) == (5, 10.0)
    assert before.signal("b:1", RUNNING) is None


def test_counters_become_totals_and_rates_and_resets_are_reported():
    assembly = assembled()
    absorb(assembly, "scrape", ("a:1", TOKENS, 100, 10.0))
    absorb(assembly, "scrape", ("a:1", TOKENS, 300, 12.0))
    breaks = absorb(assembly, "scrape", ("a:1", TOKENS, 3, 14.0))
    snapshot = assembly.snapshot(now_seconds=14.0, version=1)
    assert snapshot.signal("a:1", TOKENS) == (300, 14.0)
    assert snapshot.signal("a:1", RATE) == (100, 12.0)
    assert breaks == {(TOKENS, RejectionReason.RESET): 1}


def test_removed_replicas_are_forgotten_and_the_others_kept():
    assembly = assembled()
    absorb(assembly, "scrape", ("a:1", RUNNING, 5, 10.0), ("b:1", RUNNING, 6, 10.0))
    assembly.replace_fleet(fleet_of(B))
    snapshot = assembly.snapshot(now_seconds=10.0, version=1)
    assert snapshot.signal("a:1", RUNNING) is None
    assert snapshot.signal("b:1", RUNNING) == (6, 10.0)


def test_an_address_that_becomes_another_pod_inherits_nothing():
    assembly = assembled()
    absorb(assembly, "scrape", ("a:1", TOKENS, 500, 10.0), ("a:1", RUNNING, 5, 10.0))
    assembly.replace_fleet(fleet_of(replica_at("a:1", pod="new"), B))
    absorb(assembly, "scrape", ("a:1", TOKENS, 7, 11.0))
    snapshot = assembly.snapshot(now_seconds=11.0, version=1)
    assert snapshot.of("a:1") == {TOKENS: (7, 11.0)}


def test_a_report_asked_before_a_change_of_the_fleet_counts_for_unchanged_replicas_only():
    assembly = assembled()
    old = assembly.fleet
    assembly.replace_fleet(fleet_of(replica_at("a:1", pod="new"), B))
    late = (("a:1", RUNNING, 5, 10.0), ("b:1", RUNNING, 6, 10.0), ("z:1", RUNNING, 7, 10.0))
    absorb(assembly, "scrape", *late, collected_for=old)
    snapshot = assembly.snapshot(now_seconds=10.0, version=1)
    assert set(snapshot.signals) == {"b:1"}


def test_a_replica_of_which_nothing_new_is_told_keeps_its_object():
    assembly = assembled()
    everything = [
        (address, kind, value, 10.0)
        for address in ("a:1", "b:1")
        for kind, value in ((RUNNING, 5), (WATTS, 300), (TOKENS, 100))
    ]
    absorb(assembly, "scrape", *everything)
    first = assembly.snapshot(now_seconds=10.0, version=1)
    absorb(assembly, "scrape", *everything, ("b:1", RUNNING, 4, 9.0))
    absorb(assembly, "scrape", ("b:1", RUNNING, 6, 11.0))
    second = assembly.snapshot(now_seconds=11.0, version=2)
    assert second.of("a:1") is first.of("a:1")
    assert second.of("b:1") is not first.of("b:1")
    assert second.signal("b:1", WATTS) is first.signal("b:1", WATTS)
    assert second.signal("b:1", TOKENS) is first.signal("b:1", TOKENS)
    assert second.signal("b:1", RUNNING) == (6, 11.0)


def test_a_measurement_told_twice_with_a_blurred_time_is_one_measurement():
    assembly = assembled()

    def told(value, seconds):
        return SourceReport(
            readings=(Reading("a:1", RUNNING, value, seconds),), time_error_seconds=0.1
        )

    seen = []
    for value, seconds in ((5, 10.0), (5, 10.06), (5, 9.95), (6, 10.07), (6, 10.3)):
        assembly.absorb("prometheus", told(value, seconds), collected_for=assembly.fleet)
        seen.append(assembly.snapshot(now_seconds=10.0, version=1).signal("a:1", RUNNING))
    assert seen == [(5, 10.0), (5, 10.0), (5, 10.0), (6, 10.07), (6, 10.3)]
    assert seen[0] is seen[1] is seen[2]


def test_a_restart_told_by_several_counters_is_one_restart():
    assembly = assembled()
    prompts = SignalKind.PROMPT_TOKENS_TOTAL
    absorb(assembly, "scrape", ("a:1", TOKENS, 100, 10.0), ("a:1", prompts, 100, 10.0))
    absorb(assembly, "scrape", ("a:1", TOKENS, 1, 12.0), ("a:1", prompts, 1, 12.0))
    assert assembly.snapshot(now_seconds=12.0, version=1).restarts == {"a:1": 1}


def test_a_report_absorbed_in_portions_is_the_same_report():
    replicas = [replica_at(f"r{number}:1") for number in range(7)]
    adapters = {"r3:1": LoadedAdapters(frozenset("x"), frozenset(), 4, 10.0)}
    readings = tuple(
        Reading(replica.address, kind, number, 10.0)
        for kind in (RUNNING, TOKENS, WATTS)
        for number, replica in enumerate(replicas[:6])
    )
    whole, parts = assembled(fleet_of(*replicas)), assembled(fleet_of(*replicas))
    everything = SourceReport(readings=readings, adapters=adapters)
    whole.absorb("scrape", everything, collected_for=whole.fleet)
    found = [*portions(everything, replicas=2)]
    for part in found:
        parts.absorb("scrape", part, collected_for=parts.fleet)
    assert len(found) == 3
    assert all(len({reading.address for reading in part.readings}) == 2 for part in found)
    one = whole.snapshot(now_seconds=10.0, version=1)
    other = parts.snapshot(now_seconds=10.0, version=1)
    assert (one.signals, one.adapters) == (other.signals, other.adapters)
