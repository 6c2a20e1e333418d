"""What carbon and cooling tell as events: each beginning and each end, and nothing twice."""

from dataclasses import replace
from pathlib import Path

import yaml
from hypothesis import given
from hypothesis import strategies as st

from capper.api.config import Spec
from capper.carbon.looks import CarbonLook, FeedTold
from capper.cooling.bands import warm_bands
from capper.cooling.looks import CoolingLook
from capper.decide.cooling import SetPoint
from capper.operator.grid import carbon_status, cooling_status, grid_conditions, grid_events

KNOWN = CarbonLook(active=True, grams_per_kilowatt_hour=100.0)
LOST = replace(KNOWN, unknown="the provider is gone.")
POINT = SetPoint(supply_celsius=20.0, airflow_m3_per_second=None, set_seconds=0.0)
COOL = CoolingLook(active=True, point=POINT)
BLIND = replace(COOL, point=replace(POINT, unknown="the power of rack a"))
DEAF = replace(COOL, problem="the cooling manager answered 500")


def told(*pairs):
    """Reasons of a sequence of turns."""
    before, said = (CarbonLook(), CoolingLook()), []
    for after in pairs:
        said.append([one.reason for one in grid_events(before, after)])
        before = after
    return said


def test_each_beginning_and_end_is_told_once():
    assert told((LOST, COOL), (LOST, COOL), (KNOWN, COOL), (KNOWN, COOL)) == [
        ["CarbonUnknown"],
        [],
        ["CarbonKnown"],
        [],
    ]
    assert told((KNOWN, COOL), (KNOWN, BLIND), (KNOWN, DEAF), (KNOWN, COOL)) == [
        [],
        ["CoolingUnsure"],
        [],
        ["CoolingFollows"],
    ]
    silent = replace(KNOWN, silent="override")
    assert told((KNOWN, COOL), (silent, COOL), (KNOWN, COOL)) == [
        [],
        ["CarbonSilent"],
        ["CarbonActs"],
    ]


def test_an_unknown_feed_is_one_condition_and_not_two():
    failing = replace(KNOWN, told=FeedTold(problem="it answered 500."))
    assert [one.type.value for one in grid_conditions(failing, COOL)] == ["CarbonFeedFailing"]
    lost = replace(failing, unknown="the last figure ended.")
    (only,) = grid_conditions(lost, COOL)
    assert (only.type.value, only.message) == ("CarbonUnknown", "the last figure ended")
    both = [one.type.value for one in grid_conditions(KNOWN, replace(BLIND, problem="deaf"))]
    assert both == ["CoolingFailing"]


def test_what_is_off_is_not_in_the_status():
    assert carbon_status(CarbonLook()) is None
    assert cooling_status(CoolingLook()) is None
    assert cooling_status(BLIND).safe is True
    assert cooling_status(COOL).safe is False


LOOKS = st.tuples(
    st.sampled_from([CarbonLook(), KNOWN, LOST]), st.sampled_from([COOL, BLIND, DEAF])
)


@given(st.lists(LOOKS, max_size=12))
def test_warnings_and_their_ends_take_turns(turns):
    said = [reason for reasons in told(*turns) for reason in reasons]
    cooling = [one for one in said if one.startswith("Cooling")]
    assert cooling == ["CoolingUnsure", "CoolingFollows"] * (len(cooling) // 2) + [
        "CoolingUnsure"
    ] * (len(cooling) % 2)


def cooled(redline_celsius, *limits_celsius):
    racks = [
        {"rackId": f"r{at}", "maxPower": 9000, "maxTemperature": limit}
        for at, limit in enumerate(limits_celsius)
    ]
    return Spec.model_validate(
        {
            "powerCapLimit": 9000,
            "deploymentName": "llama",
            "rackConstraints": racks,
            "cooling": {"redlineCelsius": redline_celsius},
        }
    )


def test_cooling_that_holds_a_rack_in_restrict_says_how_far_it_must_go_down():
    said = warm_bands(cooled(27, 30, 28))
    assert "rack r1 leaves Restrict below 25.2" in said
    assert "must be below 25.7" in said
    assert warm_bands(cooled(25.6, 30, 28)) == ""
    assert warm_bands(cooled(27)) == ""
    (only,) = grid_conditions(KNOWN, COOL, said)
    assert only.type.value == "CoolingWarm"


def test_no_example_lets_cooling_and_bands_fight():
    seen = 0
    for path in sorted((Path(__file__).resolve().parents[2] / "k8s").rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if isinstance(document, dict) and document.get("kind") == "PowerCappingConfig":
                spec = Spec.model_validate(document["spec"])
                seen += spec.cooling is not None
                assert warm_bands(spec) == "", path
    assert seen > 0
