"""Replicas that take requests and end none are found, left alone, and tried again."""

import pytest
import yaml
from builders import chat, make_fleet, make_snapshot
from prometheus_client import CollectorRegistry

from fleet.price import PriceBoard
from fleet.signals import FreshnessPolicy, SignalKind
from fleet.snapshot import SnapshotHolder
from loadtest.simulator.scenario import Point, parse_scenario
from loadtest.study.jobs import Job, simulation_of
from loadtest.study.slices import source_of
from router.decide.outcome import Pick
from router.decide.picker import Picker
from router.decide.settings import DecideSettings
from router.decision_metrics import DecisionCollector

FLEET = make_fleet({"H100": 2})
FIRST, SECOND = (replica.address for replica in FLEET.replicas())
LIFE_SECONDS = 4.0


class Bench:
    """Ten requests a second by least-request; answers end after four seconds, but on `wedged`."""

    def __init__(self, **settings):
        self.picker = Picker(FLEET, DecideSettings(policy="least-request", **settings))
        self.now_seconds, self.flights, self.picks = 0.0, [], []
        self.tokens = dict.fromkeys((FIRST, SECOND), 0.0)

    def play(self, seconds, *, wedged=(), telemetry=False, arriving=True):
        self.picks = []
        for tick in range(round(seconds * 10)):
            self.now_seconds += 0.1
            if telemetry and tick % 10 == 0:
                self.scrape(wedged)
            self.end(wedged)
            if arriving:
                pick = self.picker.pick(chat(), now_seconds=self.now_seconds, draw=0.3)
                assert isinstance(pick, Pick)
                self.flights.append((self.now_seconds, pick))
                self.picks.append(pick.address)

    def end(self, wedged):
        late_seconds = self.now_seconds - LIFE_SECONDS
        over = [one for one in self.flights if one[0] <= late_seconds]
        for one in over:
            if one[1].address not in wedged:
                self.give_up(one)

    def give_up(self, one):
        self.flights.remove(one)
        self.picker.settle(one[1].ticket, now_seconds=self.now_seconds)

    def scrape(self, wedged):
        for address in self.tokens:
            self.tokens[address] += 0.0 if address in wedged else 500.0
        counters = {
            address: {SignalKind.GENERATION_TOKENS_TOTAL: tokens}
            for address, tokens in self.tokens.items()
        }
        snapshot = make_snapshot(FLEET, counters, at_seconds=self.now_seconds)
        self.picker.observe(snapshot, PriceBoard(), now_seconds=self.now_seconds)

    @property
    def stalled(self):
        return self.picker.stalls.addresses


@pytest.mark.parametrize("telemetry", [False, True])
def test_a_replica_that_ends_nothing_gets_no_more_requests_until_it_does(telemetry):
    bench = Bench()
    bench.play(20, telemetry=telemetry)
    assert bench.picker.stalls.found_total == 0
    bench.play(15, wedged={FIRST}, telemetry=telemetry)
    assert bench.stalled == {FIRST}
    bench.play(5, wedged={FIRST}, telemetry=telemetry)
    assert set(bench.picks) == {SECOND}
    bench.play(5, telemetry=telemetry)
    assert not bench.stalled
    assert FIRST in bench.picks
    assert bench.picker.stalls.found_total == 1


def test_a_still_token_counter_tells_within_seconds_of_large_batches():
    bench = Bench()
    bench.play(20, telemetry=True)
    bench.flights.sort(key=lambda one: one[1].address != FIRST)
    bench.play(9, wedged={FIRST}, telemetry=True)
    assert bench.stalled == {FIRST}


def test_written_tokens_are_a_sign_of_life_though_no_answer_ends():
    bench = Bench()
    bench.play(20, telemetry=True)
    flights, bench.flights = bench.flights, []
    for _ in range(30):
        bench.play(1, telemetry=True, arriving=False)
    assert bench.picker.stalls.found_total == 0
    assert len(flights) > 30


def test_answers_of_one_length_that_were_sent_together_end_together():
    picker = Picker(FLEET, DecideSettings())
    for wave in range(20):
        sent_seconds = 10.0 * wave
        picks = [picker.pick(chat(), now_seconds=sent_seconds, draw=0.5) for _ in range(100)]
        for pick in picks:
            picker.settle(pick.ticket, now_seconds=sent_seconds + 10.0)
    assert picker.stalls.found_total == 0


def test_a_few_long_answers_are_no_stall():
    picker = Picker(FLEET, DecideSettings())
    for number in range(50):
        pick = picker.pick(chat(output_tokens=10), now_seconds=0.1 * number, draw=0.5)
        picker.settle(pick.ticket, now_seconds=0.1 * number + 0.05)
    for number in range(40):
        picker.pick(chat(output_tokens=8000), now_seconds=100.0 + 300.0 * (number // 4), draw=0.5)
        if number % 4 == 3:
            for address in (FIRST, SECOND):
                assert not picker.stalls.finds(address, now_seconds=399.0 + 300.0 * (number // 4))
            break


def test_when_all_stall_requests_still_go_somewhere():
    bench = Bench()
    bench.play(20)
    bench.play(30, wedged={FIRST, SECOND})
    assert bench.stalled == {FIRST, SECOND}
    assert set(bench.picks) == {FIRST, SECOND}


def test_callers_that_give_up_are_no_sign_of_life_and_one_request_tries():
    bench = Bench()
    bench.play(20, telemetry=True)
    bench.play(15, wedged={FIRST}, telemetry=True)
    assert bench.stalled == {FIRST}
    for one in [one for one in bench.flights if one[1].address == FIRST]:
        bench.give_up(one)
    bench.play(4, wedged={FIRST}, telemetry=True)
    assert bench.picks.count(FIRST) == 1
    bench.play(8, telemetry=True)
    assert not bench.stalled


def test_it_can_be_turned_off():
    bench = Bench(stall_chance=0.0)
    bench.play(20)
    bench.play(60, wedged={FIRST})
    assert bench.picker.stalls.found_total == 0


def test_it_is_explained_and_counted():
    bench = Bench()
    bench.play(20)
    bench.play(15, wedged={FIRST})
    explanation = bench.picker.explain(chat(), now_seconds=bench.now_seconds)
    verdicts = {view.address: view.verdict for view in explanation.candidates}
    assert verdicts[FIRST] == "stalled"

    registry = CollectorRegistry()
    holder = SnapshotHolder(make_snapshot(FLEET, default={}))
    registry.register(
        DecisionCollector(
            bench.picker, {}, snapshots=holder, freshness=FreshnessPolicy(), clock=StoppedClock()
        )
    )
    labels = {"model": "llama"}
    assert registry.get_sample_value("headrace_router_stalled_replicas", labels) == 1.0
    assert registry.get_sample_value("headrace_router_stalls_total") == 1.0


class StoppedClock:
    def monotonic_seconds(self):
        return 0.0


@pytest.mark.parametrize("wedged", [False, True])
@pytest.mark.parametrize("load", [2, 30])
def test_simulated_a_wedged_replica_is_found_and_healthy_ones_never_are(wedged, load):
    fault = {
        "kind": "replica-wedged",
        "replica": "b200/0",
        "start_seconds": 15,
        "duration_seconds": 15,
    }
    small = {
        "name": "small",
        "description": "two boards",
        "backends": [
            {"accelerator": "H100", "replicas": 1},
            {"accelerator": "B200", "replicas": 1},
        ],
        "trace": "synthetic-conv",
        "loads_requests_per_second": [load],
        "warmup_seconds": 10,
        "window_seconds": 30,
        "fault_cases": {"fault": [fault] if wedged else []},
        "arms": ["least-request"],
    }
    scenario = parse_scenario(yaml.safe_dump(small), source="small.yaml")
    source = source_of(scenario)
    point = Point(load_requests_per_second=load, case="fault")
    job = Job(scenario=scenario, source=source, point=point, arm="least-request", seed=0)
    simulation = simulation_of(job)
    simulation.run()
    found = simulation.picker.stalls.found_total
    assert found == (1 if wedged and load > 2 else 0)
    assert not simulation.picker.stalls.addresses


def test_a_request_that_nobody_answers_in_time_goes_past_a_stalled_replica_as_full_as_the_others():
    bench = Bench()
    bench.play(20, telemetry=True)
    bench.play(15, wedged={FIRST}, telemetry=True)
    assert bench.stalled == {FIRST}
    bench.scrape({FIRST})
    account = bench.picker.ledger.account
    for one in list(bench.flights):
        fuller = max((FIRST, SECOND), key=lambda address: account(address).running)
        if account(FIRST).running != account(SECOND).running and one[1].address == fuller:
            bench.give_up(one)
    assert account(FIRST).running == account(SECOND).running > 0
    asked = chat(prompt_bytes=10**7)
    question = bench.picker.question(asked, now_seconds=bench.now_seconds, draw=0.5)
    assert question.least_late().address == SECOND
