"""Days that are played faster than they pass: what is compressed and what keeps its time."""

import pytest
import yaml

from loadtest.simulator.scenario import ScenarioError, parse_scenario
from loadtest.simulator.scenario_world import world_of
from loadtest.study.carbon_files import carbon_of
from loadtest.study.scenario_files import load_scenario
from loadtest.study.slices import arrivals, source_of

LOAD = 3.0
FIELDS = {
    "name": "short",
    "description": "a short day",
    "backends": [{"accelerator": "H100", "replicas": 2}],
    "curve_file": "curve.csv",
    "loads_requests_per_second": [4],
    "compression_ratio": 60,
    "warmup_seconds": 600,
    "window_seconds": 6000,
    "step": {"start_seconds": 60, "duration_seconds": 120, "factor": 2},
    "caps": {
        "fleet": [{"at_seconds": 0, "watts": 900}, {"at_seconds": 3000, "watts": 700}],
        "racks": {"b": [{"at_seconds": 60, "watts": 600}]},
    },
    "racks": {
        "names": ["a", "b"],
        "approach_celsius": [5, 5],
        "recirculation_kelvin_per_kilowatt": [[1, 0], [0, 1]],
        "time_constant_seconds": 300,
        "cooling_faults": [
            {"rack": "b", "start_seconds": 1200, "duration_seconds": 600, "kelvin_per_kilowatt": 4}
        ],
    },
    "fault_cases": {
        "blind": [{"kind": "telemetry-lost", "start_seconds": 120, "duration_seconds": 30}]
    },
    "actuators": {"wake_seconds": [5, 15]},
    "arms": ["least-request"],
}


def parse(**changes):
    return parse_scenario(yaml.safe_dump(FIELDS | changes), source="short.yaml")


def world(scenario):
    return world_of(scenario, scenario.points()[0], prior_ratio=1.0, carbon=None)


def test_slow_things_pass_faster_and_machines_do_not():
    scenario = parse()
    played = world(scenario)
    assert (scenario.warmup_seconds, scenario.window_seconds) == (10.0, 100.0)
    assert (scenario.step.start_seconds, scenario.step.duration_seconds) == (1.0, 2.0)
    assert played.caps.fleet.steps == ((10.0, 900.0), (60.0, 700.0))
    assert played.caps.racks["b"].steps == ((11.0, 600.0),)
    assert played.room.thermal.time_constant_seconds == 5.0
    [fault] = played.room.faults
    assert (fault.rack, fault.start_seconds, fault.end_seconds) == ("b", 30.0, 40.0)
    assert fault.kelvin_per_watt == pytest.approx(0.004)
    [blind] = played.faults
    assert (blind.start_seconds, blind.duration_seconds) == (12.0, 0.5)
    assert played.actuators.wake_seconds == (5.0, 15.0)
    assert (played.control_period_seconds, played.compression_ratio) == (1.0, 60.0)


def test_without_a_ratio_nothing_changes():
    assert parse(compression_ratio=1).window_seconds == 6000.0


def test_the_day_of_the_shipped_scenario_has_its_events_at_their_hours():
    scenario = load_scenario("together")
    played = world_of(scenario, scenario.points()[0], prior_ratio=1.0, carbon=None)

    def hour(now_seconds):
        return (now_seconds - played.warmup_seconds) * scenario.compression_ratio / 3600.0

    [fault] = played.room.faults
    assert (hour(fault.start_seconds), hour(fault.end_seconds)) == (14.0, 16.0)
    (_, usual), (cut, lower), (back, again) = played.caps.fleet.steps
    assert (hour(cut), hour(back)) == (18.0, 21.0)
    assert lower == pytest.approx(0.7 * usual)
    assert again == usual
    assert hour(played.end_seconds) == 24.0


def test_an_hour_of_the_grid_takes_an_hour_of_the_day():
    scenario = load_scenario("together")
    try:
        series = carbon_of(scenario)
    except ScenarioError as error:
        pytest.skip(f"no carbon series: {error}")
    assert series.interval_seconds / series.speed_up_ratio == pytest.approx(3600.0 / 48.0)
    # The series of California begins at midnight there, after the warm-up: dark, so no sun in it.
    midnight, noon = (
        series.at(scenario.warmup_seconds + hour * 75.0 + 1.0) for hour in (0.0, 12.0)
    )
    assert midnight > 1.2 * noon


def played(seed, scenario=None):
    scenario = load_scenario("together") if scenario is None else scenario
    source = source_of(scenario)
    return scenario, [
        one.at_seconds
        for one in arrivals(scenario, source, load_requests_per_second=LOAD, seed=seed)
    ]


def test_every_seed_plays_the_same_hours_with_requests_of_its_own():
    scenario, first = played(0)
    _, again = played(0)
    _, other = played(1)
    assert first == again
    assert first != other
    quarter = scenario.window_seconds / 4.0
    for times in (first, other):
        counts = [
            sum(start <= at - scenario.warmup_seconds < start + quarter for at in times)
            for start in (0.0, quarter, 2 * quarter, 3 * quarter)
        ]
        # The night is the quietest quarter and the afternoon the busiest, as in the curve.
        assert min(counts) == counts[0]
        assert max(counts) == counts[2]
        assert sum(counts) == pytest.approx(LOAD * scenario.window_seconds, rel=0.15)
    assert first[0] < scenario.warmup_seconds
    assert max(first) < scenario.total_seconds


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"compression_ratio": 0}, "compression_ratio: input should be greater than 0"),
        ({"trace": "azure-conv"}, "trace: exactly one of trace, trace_file and curve_file"),
        (
            {"racks": FIELDS["racks"] | {"lowest_supply_celsius": 26}},
            "racks: lowest_supply_celsius must not be above highest_supply_celsius.",
        ),
        (
            {"racks": FIELDS["racks"] | {"recommended_celsius": 26}},
            "racks: recommended_celsius must not be above redline_celsius.",
        ),
        (
            {
                "racks": FIELDS["racks"]
                | {"cooling_faults": [{"rack": "c", "start_seconds": 0, "duration_seconds": 1}]}
            },
            "racks: cooling_faults must be of a, b, got 'c'.",
        ),
        (
            {
                "reach": [
                    {
                        "claim": "so much",
                        "scenario": "daily",
                        "arm": "luck",
                        "against": "dispatch",
                        "saves_ratio": 0.1,
                    }
                ]
            },
            "reach.0.arm: must be among ",
        ),
    ],
)
def test_what_cannot_be_played_is_one_sentence(changes, sentence):
    with pytest.raises(ScenarioError) as caught:
        parse(**changes)
    [problem] = caught.value.problems
    assert problem.startswith(f"short.yaml: {sentence}")


def test_a_curve_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "short.yaml"
    path.write_text(yaml.safe_dump(FIELDS), encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"short.yaml:\d+: curve_file: there is no file"):
        load_scenario(str(path))


def test_a_curve_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "curve.csv").write_text(
        "at_seconds,requests_per_second\n0,-1\n1,2\n", encoding="utf-8"
    )
    path = tmp_path / "short.yaml"
    path.write_text(yaml.safe_dump(FIELDS), encoding="utf-8")
    scenario = load_scenario(str(path))
    with pytest.raises(ScenarioError, match="must be 0 and more"):
        list(played(0, scenario)[1])
