"""Prometheus families of smoothing and vertical autoscaling, from the newest reports."""

from collections.abc import Iterator, Mapping

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from capper.operator.report import TurnReport


def advice_families(reports: Mapping[str, TurnReport]) -> Iterator[Metric]:
    """All of them; what is unknown or switched off has no sample."""
    labels = ["config", "domain"]
    peaks = GaugeMetricFamily(
        "capper_smoothing_peak_watts", "Peak of the mean week, as replicas hang now.", labels=labels
    )
    planned = GaugeMetricFamily(
        "capper_smoothing_planned_peak_watts", "The same as planned.", labels=labels
    )
    headroom = GaugeMetricFamily(
        "capper_smoothing_headroom_watts", "Cap less the weekly peak now.", labels=labels
    )
    extra = GaugeMetricFamily(
        "capper_vertical_extra_watts",
        "Host watts by which the next replica differs from the running ones.",
        labels=["config", "target"],
    )
    for name, report in reports.items():
        advice = report.advice
        for node in () if advice.smoothing is None else advice.smoothing.nodes:
            peaks.add_metric([name, node.name], node.peak_watts)
            planned.add_metric([name, node.name], node.planned_peak_watts)
            if node.headroom_watts is not None:
                headroom.add_metric([name, node.name], node.headroom_watts)
        for target in dict.fromkeys(one.target for one in advice.vertical):
            extra.add_metric([name, target], advice.extra_watts.get(target, 0.0))
    yield from (peaks, planned, headroom, extra)
