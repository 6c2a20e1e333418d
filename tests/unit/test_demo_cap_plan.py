"""The demo's cap step: what is asked of the capper, and what is said of what it did."""

import pytest

from capper.api.files import parse
from capper.api.translate import policy_of
from headrace.demo.cap_account import Caps, Seen, cap_account, uncapped
from headrace.demo.cap_plan import BRAKE, PACING, CapSchedule, cap_document
from headrace.demo.capping_log import CappingLog, Decision
from headrace.demo.layout import FLOORS
from headrace.demo.power_windows import PowerWindow
from loadtest.outcome import FailureKind, RequestOutcome

SCHEDULE = CapSchedule(measure_seconds=2.0, step_seconds=4.0, reaction_seconds=3.0)
CAPS = Caps(measured_watts=900.0, first_watts=1200.0, second_watts=840.0, step_seconds=4.0)


def test_the_second_cap_is_thirty_percent_below_the_first_and_below_what_the_fleet_draws():
    first, second = CapSchedule().caps_watts(1300.0)
    assert (first, second) == (1733.0, 1213.0)
    assert second / first == pytest.approx(0.7, abs=0.001)
    assert second < 1300.0


def test_arrivals_must_outlast_the_reaction_time():
    assert SCHEDULE.judged_seconds == 7.0
    assert SCHEDULE.least_seconds == 13.0


@pytest.mark.parametrize(("enforce", "mode"), [(True, "Enforce"), (False, "Observe")])
def test_the_file_is_a_valid_configuration_with_floors_pacing_and_a_late_brake(enforce, mode):
    policy = policy_of(parse(cap_document(1213.0, FLOORS, enforce=enforce)))
    assert policy.mode == mode
    assert [cap.watts for cap in policy.domains[0].caps] == [1213.0]
    assert {target.backend: target.min_replicas for target in policy.targets} == FLOORS
    assert policy.pacing.shed_interval_seconds == PACING["shedIntervalSeconds"]
    assert policy.pacing.escalate_after_seconds == PACING["escalateAfterSeconds"]
    assert policy.pacing.dwell_seconds == PACING["dwellSeconds"]
    assert policy.brakes.after_seconds == BRAKE["afterSeconds"]


# What the capper shows


def page(*, cap=1200.0, band="Normal", price=1.0, bound=3, current=3, watts=900.0):
    return {
        "default/demo": {
            "explanation": f"fleet is in {band}",
            "domains": [
                {
                    "name": "fleet",
                    "watts": watts,
                    "cap_watts": cap,
                    "band": band,
                    "price_ratio": price,
                    "shed": "nothing",
                }
            ],
            "targets": [
                {
                    "ref": "Deployment/default/a100",
                    "current_replicas": current,
                    "bound": bound,
                    "why": "over the cap",
                }
            ],
        }
    }


def test_a_change_is_noted_once_with_the_plans_reason():
    log = CappingLog()
    for at_seconds, shown in [
        (0.0, page()),
        (1.0, page(cap=840.0)),
        (2.0, page(cap=840.0, band="Shed", price=4.0)),
        (3.0, page(cap=840.0, band="Shed", price=4.0, bound=2)),
        (4.0, page(cap=840.0, band="Shed", price=4.0, bound=2, current=2)),
    ]:
        log.see(shown, at_seconds=at_seconds)
    found = [(one.at_seconds, one.subject, one.change, one.why) for one in log.decisions]
    assert found == [
        (1.0, "fleet", "cap 1200 -> 840", "the configuration was rewritten"),
        (2.0, "fleet", "band Normal -> Shed", "fleet is in Shed"),
        (2.0, "fleet", "price 1 -> 4", "fleet is in Shed"),
        (3.0, "a100", "replicas 3 -> 2", "over the cap"),
    ]
    assert log.awake == {"a100": 2}
    assert log.sentence() == (
        "capper (simulated watts): 900 W of 840 W, band Shed, price 4, refuses nothing; "
        "last: 3 s a100: replicas 3 -> 2 (over the cap)"
    )


def test_unknown_watts_and_replicas_are_not_zero():
    log = CappingLog()
    assert log.sentence() == "the capper has not looked yet"
    log.see({}, at_seconds=0.0)
    log.see(page(watts=None, bound=None, current=None), at_seconds=1.0)
    assert "? W of 1200 W" in log.sentence()
    assert (log.awake, log.decisions) == ({}, [])


# What is said of it


def outcome(due_seconds, *, ttft_seconds=0.1, failure=None):
    return RequestOutcome(
        index=0,
        model="m",
        prompt_tokens=1,
        wanted_output_tokens=2,
        streamed=True,
        aborted=False,
        due_seconds=due_seconds,
        started_seconds=due_seconds,
        finished_seconds=due_seconds + 1.0,
        status=200,
        failure=failure,
        ttft_seconds=ttft_seconds,
        tpot_seconds=0.01,
        output_tokens=2,
    )


def windows(*watts):
    return [PowerWindow(float(n), n + 1.0, each) for n, each in enumerate(watts)]


OUTCOMES = [
    outcome(0.0),
    outcome(3.9),
    outcome(4.0, ttft_seconds=2.0),
    outcome(10.0, failure=FailureKind.STATUS),
    outcome(11.0),
]


def account(*watts):
    decision = Decision(at_seconds=5.0, subject="a100", change="replicas 3 -> 2", why="over")
    seen = Seen(
        windows=windows(*watts),
        caps=CAPS,
        awake=({"a100": 3}, {"a100": 1}),
        decisions=[decision],
    )
    return cap_account(seen, SCHEDULE, OUTCOMES)


def test_both_sides_of_a_step_and_what_was_over_the_cap():
    #                    measured     capped      step: reacting     judged from 7 s on
    found = account(*(900.0, 900.0), *(1000, 800), *(940, 860, 840), 800, 845, 830, 840, 100)
    told = found.to_dict()
    assert told["simulated_mean_watts"]["before"] == 900.0
    # 7 s to the last arrival at 11 s; what follows it is no load.
    assert told["simulated_mean_watts"]["after"] == pytest.approx((800 + 845 + 830 + 840) / 4)
    assert told["over_cap_while_reacting"] == {"seconds": 2.0, "over_cap_joules": 120.0}
    assert told["violations"] == {"seconds": 1.0, "over_cap_joules": 5.0}
    # 840 and 800 are under, 845 is not: the three in a row begin at 9 s.
    assert told["under_cap_after_seconds"] == 5.0
    assert told["requests"] == {"before": 2, "after": 3}
    assert told["requests_lost"] == {"before": 0, "after": 1}
    assert told["attainment_ratio"] == {"before": 1.0, "after": pytest.approx(1 / 3)}
    assert told["awake_replicas"] == {"before": {"a100": 3}, "after": {"a100": 1}}
    assert [one["why"] for one in told["decisions"]] == ["over"]
    assert told["pacing"]["shedIntervalSeconds"] == PACING["shedIntervalSeconds"]


def test_a_fleet_that_never_comes_under_says_so():
    found = account(*[900.0] * 12)
    assert found.under_after_seconds is None
    assert (found.violations.seconds, found.violations.joules) == (5.0, 300.0)


def test_the_same_watts_are_laid_over_an_arm_that_nothing_capped():
    told = uncapped(account(*[800.0] * 12), windows(*[1840.0] * 12))
    assert told == {
        "simulated_mean_watts": 1840.0,
        "above_the_same_watts": {"seconds": 4.0, "over_cap_joules": 4000.0},
    }
