"""The recording rules of racks: exhausts beside inlets, and no sensor's nonsense."""

import pytest
from promtool import check_rules, expect, gauge, node

pytestmark = pytest.mark.prometheus


def exhaust(celsius, server, **labels):
    return gauge(
        "ipmi_temperature_celsius", celsius, name="Exhaust Temp", instance=server, **labels
    )


def power(watts, server, **labels):
    return gauge("ipmi_dcmi_power_consumption_watts", watts, instance=server, **labels)


def test_the_exhaust_of_a_rack_is_the_mean_of_its_servers(tmp_path):
    check_rules(tmp_path)
    told = node("a", rack="r1") | node("b", rack="r1")
    for name in ("a", "b"):
        told |= power(2000, f"{name}:9290", node=name)
    told |= exhaust(40, "a:9290", node="a") | exhaust(46, "b:9290", node="b")
    told |= power(900, "bmc-c", rack="r2")
    told |= gauge("idrac_sensors_temperature", 38, name="System Board Exhaust Temp",
                  instance="bmc-c", rack="r2")  # fmt: skip
    told |= gauge("ipmi_temperature_celsius", 24, name="Inlet Temp", instance="a:9290", node="a")
    expect(
        tmp_path,
        told,
        {
            "capper:rack_outlet_celsius": {'{rack="r1"}': 43, '{rack="r2"}': 38},
            "time() - capper:rack_outlet_measured_seconds": {'{rack="r1"}': 0, '{rack="r2"}': 0},
            "capper:rack_inlet_celsius": {'{rack="r1"}': 24},
        },
    )


@pytest.mark.parametrize("nonsense", ["9223372036854775807", "-40", "0", "NaN"])
def test_an_exhaust_that_cannot_be_is_left_out_of_the_mean(tmp_path, nonsense):
    told = node("a", rack="r1") | node("b", rack="r1") | node("c", rack="r2")
    told |= exhaust(nonsense, "a:9290", node="a") | exhaust(44, "b:9290", node="b")
    told |= exhaust(nonsense, "c:9290", node="c")
    expect(tmp_path, told, {"capper:rack_outlet_celsius": {'{rack="r1"}': 44}})
