"""Watts of servers, racks and the whole, by where they are measured; inlets and exhausts."""

from capper.observe.rules.promql import first_label, first_of, within
from capper.observe.rules.rule import Recording

_MAX_METER_WATTS = 1e6
_INLET = 'name=~"(?i).*inlet.*"'
_OUTLET = 'name=~"(?i).*(exhaust|outlet).*"'
# A power supply's output is no consumption (and wrong by six on some Supermicro boards).
_BMC = (
    "idrac_power_control_consumed_watts",
    "ipmi_dcmi_power_consumption_current_watts",
    "ipmi_dcmi_power_consumption_watts",
    'ipmi_power_watts{name=~"(?i).*(pwr|power).*consumption.*"}',
    "kepler_platform_watts",
)
_INLETS = (f"idrac_sensors_temperature{{{_INLET}}}", f"ipmi_temperature_celsius{{{_INLET}}}")
_OUTLETS = (f"idrac_sensors_temperature{{{_OUTLET}}}", f"ipmi_temperature_celsius{{{_OUTLET}}}")
_LATCHED = "capper:meter_expected"


def _meter(expr: str, aggregation: str) -> str:
    """One value per server. A server is its node where that is known, else its scrape target."""
    named = first_label(expr, "node", "node", "node_name")
    named = first_label(named, "meter", "node", "node_name", "instance")
    return f"{aggregation} by (meter, node, rack, instance) ({named})"


def _timestamps(selectors: tuple[str, ...]) -> str:
    return first_of((_meter(f"timestamp({one})", "min") for one in selectors), on="meter")


def _racked(series: str) -> str:
    """With the rack of the scrape target, or else that of the node."""
    return (
        f'{series}{{rack!=""}}\n'
        f'  or ({series}{{rack=""}} * on (node) group_left (rack) capper:node_rack)'
    )


def _in_racks(aggregation: str, series: str) -> str:
    return (
        f"{aggregation} by (rack) "
        f"(max by (meter) ({series}) * on (meter) group_left (rack) capper:meter_rack)"
    )


def _by_rack(aggregation: str, series: str) -> str:
    return f"{aggregation} by (rack) ({series} * on (node) group_left (rack) capper:node_rack)"


def _or_none(counted: str, of: str) -> str:
    """A count over what it should be; nothing at all counts as 0."""
    return f"({counted} or on (rack) {of} * 0) / on (rack) {of}"


_SERVERS = (
    Recording(
        record="capper:node_rack",
        expr=(
            "group by (node, rack) ("
            + first_label(
                first_label(
                    'kube_node_labels{label_topology_headrace_dev_rack!=""}',
                    "rack",
                    "label_topology_headrace_dev_rack",
                ),
                "node",
                "exported_node",
                "node",
            )
            + ")"
        ),
        meaning="1 for each node with the label `topology.headrace.dev/rack`.",
    ),
    Recording(
        record="capper:meter_watts",
        expr=within(
            f"({first_of((_meter(one, 'sum') for one in _BMC), on='meter')})", 0, _MAX_METER_WATTS
        ),
        meaning="Each server, from its management controller (Redfish, then IPMI).",
    ),
    Recording(
        record="capper:meter_seen_seconds",
        expr=f"({_timestamps(_BMC)})\n  and on (meter) capper:meter_watts",
        meaning="When the exporter's answer came, epoch seconds.",
    ),
    Recording(
        record="capper:meter_rack",
        expr=f"group by (meter, rack) ({_racked('capper:meter_watts')})",
        meaning="1 for each server in its rack.",
    ),
    Recording(
        record=_LATCHED,
        expr=(
            "group by (meter, node, rack, instance) (capper:meter_watts)\n"
            f"  or ({_LATCHED} and on (instance) up)\n"
            f"  or ({_LATCHED} and on (node) kube_node_info)"
        ),
        meaning="1 for each server that should report: its scrape target or its node is there.",
    ),
    Recording(
        record="capper:inlet_celsius",
        expr=first_of((_meter(one, "max") for one in _INLETS), on="meter"),
        meaning="Each server's inlet.",
    ),
    Recording(
        record="capper:inlet_seen_seconds",
        expr=_timestamps(_INLETS),
        meaning="When the exporter's answer came, epoch seconds.",
    ),
    Recording(
        record="capper:outlet_celsius",
        expr=within(f"({first_of((_meter(one, 'max') for one in _OUTLETS), on='meter')})", 0, 120),
        meaning="Each server's exhaust.",
    ),
    Recording(
        record="capper:outlet_seen_seconds",
        expr=_timestamps(_OUTLETS),
        meaning="When the exporter's answer came, epoch seconds.",
    ),
)

_BOARDS_SOURCE = (("source", "boards"),)
_BMC_SOURCE = (("source", "bmc"),)
_PDU_SOURCE = (("source", "pdu"),)

_RACKS = (
    Recording(
        record="capper:rack_watts",
        expr=_by_rack("sum", "capper:board_watts"),
        labels=_BOARDS_SOURCE,
        meaning="Each rack, from its GPU boards.",
    ),
    Recording(
        record="capper:rack_watts",
        expr=_in_racks("sum", "capper:meter_watts"),
        labels=_BMC_SOURCE,
        meaning="Each rack, from its servers.",
    ),
    Recording(
        record="capper:rack_watts",
        expr="sum by (rack) (capper:pdu_watts)",
        labels=_PDU_SOURCE,
        meaning="Each rack, from its PDUs: the series `capper:pdu_watts` is the user's to record.",
    ),
    Recording(
        record="capper:rack_measured_seconds",
        expr=_by_rack("min", "(capper:board_seen_seconds and on (node, board) capper:board_watts)"),
        labels=_BOARDS_SOURCE,
        meaning="When the oldest part was measured, epoch seconds.",
    ),
    Recording(
        record="capper:rack_measured_seconds",
        expr=_in_racks("min", "capper:meter_seen_seconds"),
        labels=_BMC_SOURCE,
        meaning="The same for servers.",
    ),
    Recording(
        record="capper:rack_measured_seconds",
        expr=(
            "min by (rack) (capper:pdu_seen_seconds)\n"
            "  or on (rack) min by (rack) (timestamp(capper:pdu_watts))"
        ),
        labels=_PDU_SOURCE,
        meaning="The same for PDUs.",
    ),
    Recording(
        record="capper:rack_coverage_ratio",
        expr=_or_none(
            _by_rack("count", "capper:board_watts"),
            _by_rack("sum", "capper:node_boards_expected"),
        ),
        labels=_BOARDS_SOURCE,
        meaning="Boards that report, over those that should.",
    ),
    Recording(
        record="capper:rack_coverage_ratio",
        expr=_or_none(
            _in_racks("count", "capper:meter_watts"),
            f"count by (rack) (group by (meter, rack) ({_racked(_LATCHED)}))",
        ),
        labels=_BMC_SOURCE,
        meaning="Servers that report, over those that should.",
    ),
    Recording(
        record="capper:rack_pdus",
        expr="count by (rack) (capper:pdu_watts)",
        meaning="PDUs that report.",
    ),
    Recording(
        record="capper:rack_coverage_ratio",
        expr=_or_none("capper:rack_pdus", "max_over_time(capper:rack_pdus[1h])"),
        labels=_PDU_SOURCE,
        meaning="PDUs that report, over the most of the last hour.",
    ),
    Recording(
        record="capper:rack_limit_watts",
        expr=_by_rack("sum", "capper:board_limit_watts")
        + "\n  and on (rack) ("
        + _by_rack("count", "capper:board_limit_watts")
        + " >= on (rack) "
        + _by_rack("count", "capper:board_watts")
        + ")",
        labels=_BOARDS_SOURCE,
        meaning="What its boards may draw, where all limits are known.",
    ),
    Recording(
        record="capper:rack_inlet_celsius",
        expr=f"max by (rack) ({_racked('capper:inlet_celsius')})",
        meaning="The hottest inlet of each rack.",
    ),
    Recording(
        record="capper:rack_inlet_measured_seconds",
        expr=f"min by (rack) ({_racked('capper:inlet_seen_seconds')})",
        meaning="When its oldest inlet was measured, epoch seconds.",
    ),
    Recording(
        record="capper:rack_outlet_celsius",
        expr=f"avg by (rack) ({_racked('capper:outlet_celsius')})",
        meaning="The mean exhaust of each rack.",
    ),
    Recording(
        record="capper:rack_outlet_measured_seconds",
        expr=f"min by (rack) ({_racked('capper:outlet_seen_seconds')})",
        meaning="When its oldest exhaust was measured, epoch seconds.",
    ),
)

_FLEET = (
    Recording(
        record="capper:fleet_watts",
        expr="sum(capper:board_watts)",
        labels=_BOARDS_SOURCE,
        meaning="All GPU boards that Prometheus knows of.",
    ),
    Recording(
        record="capper:fleet_watts",
        expr="sum(max by (meter) (capper:meter_watts))",
        labels=_BMC_SOURCE,
        meaning="All servers that Prometheus knows of.",
    ),
    Recording(
        record="capper:fleet_watts",
        expr="sum(capper:pdu_watts)",
        labels=_PDU_SOURCE,
        meaning="All PDUs that Prometheus knows of.",
    ),
    Recording(
        record="capper:fleet_coverage_ratio",
        expr="(count(capper:board_watts) or vector(0)) / sum(capper:node_boards_expected)",
        labels=_BOARDS_SOURCE,
        meaning="Boards that report, over those that should.",
    ),
    Recording(
        record="capper:host_ratio_now",
        expr=(
            'sum(max by (node) (capper:meter_watts{node!=""})'
            " and on (node) capper:board_watts)\n"
            "  / sum(sum by (node) (capper:board_watts)"
            ' and on (node) capper:meter_watts{node!=""})'
        ),
        meaning="Watts of servers over watts of their boards, where both are measured.",
    ),
    Recording(
        record="capper:host_ratio",
        expr="quantile_over_time(0.5, capper:host_ratio_now[1h])",
        meaning="Its median over an hour: what boards are multiplied by where only they are known.",
    ),
)

RACKS = (*_SERVERS, *_RACKS, *_FLEET)
