"""Each alert fires for what it is for, after its time, and not for what is near it."""

from dataclasses import replace

import pytest
from promtool import check_rules, expect_alert, gauge, series

from capper.observe.rules.alerts import ALERTS

pytestmark = pytest.mark.prometheus
CONFIG = {"config": "llm/row"}
DOMAIN = CONFIG | {"domain": "fleet"}
BY_NAME = {alert.name: alert for alert in ALERTS}


def over(watts, cap, *, name="domain_watts", limit="domain_cap_watts"):
    return gauge(f"capper_{name}", watts, **DOMAIN) | gauge(f"capper_{limit}", cap, **DOMAIN)


def heat(celsius):
    return over(celsius, 27, name="domain_inlet_celsius", limit="domain_max_inlet_celsius")


def condition(kind, value):
    return gauge("capper_condition", value, type=kind, **CONFIG)


def for_hours(kind):
    return {series("capper_condition", type=kind, **CONFIG): "1x480"}


def turning(values, configurations="1x40"):
    return {
        series("capper_turn_timestamp_seconds", **CONFIG): values,
        "capper_configurations": configurations,
    }


NODE = {"node": "node-1"}


def expirations(values):
    return {series("clock_agent_lease_expirations_total", policy="Restore", **NODE): values}


CASES = [
    ("CapExceeded", over(1050, 1000), "2m", [DOMAIN]),
    ("CapExceeded", over(1050, 1000), "30s", []),
    ("CapExceeded", over(1000, 1000), "2m", []),
    ("TelemetryStale", condition("TelemetryStale", 1), "2m", [CONFIG]),
    ("TelemetryStale", condition("TelemetryStale", 0), "2m", []),
    ("TelemetryStale", condition("CoverageLow", 1), "2m", []),
    ("CoverageLow", condition("CoverageLow", 1), "3m", [CONFIG]),
    ("CoverageLow", condition("CoverageLow", 1), "1m", []),
    ("RevertFight", condition("RevertFight", 1), "15s", [CONFIG]),
    ("RevertFight", condition("RevertFight", 0), "15s", []),
    ("Oscillation", condition("Oscillation", 1), "15s", [CONFIG]),
    ("Oscillation", condition("Oscillation", 0), "15s", []),
    ("BudgetOverAllocated", condition("BudgetOverAllocated", 1), "3m", [CONFIG]),
    ("BudgetOverAllocated", over(1100, 1000, name="domain_allocated_watts"), "3m", [CONFIG]),
    ("BudgetOverAllocated", over(900, 1000, name="domain_allocated_watts"), "3m", []),
    ("InletHot", heat(29), "6m", [DOMAIN]),
    ("InletHot", heat(29), "4m", []),
    ("InletHot", heat(26), "6m", []),
    ("CarbonUnknown", for_hours("CarbonUnknown"), "61m", [CONFIG]),
    ("CarbonUnknown", for_hours("CarbonUnknown"), "59m", []),
    ("CarbonUnknown", for_hours("CarbonFeedFailing"), "61m", []),
    ("CarbonBudgetSpent", gauge("capper_carbon_budget_left_grams", -1, **CONFIG), "6m", [CONFIG]),
    ("CarbonBudgetSpent", gauge("capper_carbon_budget_left_grams", 0, **CONFIG), "4m", []),
    ("CarbonBudgetSpent", gauge("capper_carbon_budget_left_grams", 5, **CONFIG), "6m", []),
    ("CoolingUnsure", gauge("capper_cooling_safe", 1, **CONFIG), "11m", [CONFIG]),
    ("CoolingUnsure", gauge("capper_cooling_safe", 1, **CONFIG), "9m", []),
    ("CoolingUnsure", gauge("capper_cooling_safe", 0, **CONFIG), "11m", []),
    ("LeaseExpired", turning("0+15x60"), "5m", []),
    ("LeaseExpired", expirations("0x8 1x40"), "4m", [NODE]),
    ("LeaseExpired", expirations("0x40"), "4m", []),
    ("LeaseExpired", gauge("clock_agent_board_safe_limit", 1, **NODE), "2m", [NODE]),
    ("LeaseExpired", gauge("clock_agent_board_safe_limit", 0, **NODE), "2m", []),
    ("LeaseExpired", turning("0+15x8 120x40"), "6m", [CONFIG]),
    ("LeaseExpired", turning("0+15x8 stale", "1x8 stale"), "9m", [{}]),
    ("LeaseExpired", turning("0+15x8 stale", "1x8 0x40"), "9m", []),
]


def test_the_alerts_are_valid(tmp_path):
    check_rules(tmp_path, ALERTS)


def test_each_alert_is_shown_firing_and_not_firing():
    assert {name for name, *_, fires in CASES if fires} == BY_NAME.keys()
    assert {name for name, *_, fires in CASES if not fires} == BY_NAME.keys()


@pytest.mark.parametrize("name", BY_NAME)
def test_an_alert_fires_for_what_it_is_for(tmp_path, name):
    alert = BY_NAME[name]
    for case, told, at, fires in CASES:
        if case != name:
            continue
        labels = {"severity": alert.severity, "component": "capper"}
        bare = replace(alert, summary="", action="")  # they hold values
        expect_alert(tmp_path, told, name, [labels | one for one in fires], at=at, rules=(bare,))
