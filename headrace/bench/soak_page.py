"""The page of a soak, from its report. Pure."""

from typing import Any

from loadtest.reports.cells import markdown_table

_PAGE = """# A router under an hour of load

Written by `headrace bench soak`; edit nothing here.

One router of {workers} worker(s) with {replicas} replicas, scraped every {scrape_seconds:g} s, behind two real Envoys, one
that buffers request bodies and one in full duplex. {rate:g} requests/s arrive by chance for
{duration_seconds:g} s; answers are streamed for 2 to 6 s; bodies are of 0.5 KB to 1 MB; two clients
of a hundred hang up. The first {warm_up_seconds:g} s are not judged. Memory is the resident set of
all processes of the router. {held_streams} idle streams are opened through each Envoy of another, fresh
router, where no memory freed by a load hides what they cost.

{checks}

| Figure | |
|---|---|
| Requests answered | {answered} |
| Clients that hung up | {hung_up} |
| Open streams, mean and most | {streams_mean:.0f}, {streams_max} |
| Growth of memory along the fitted line | {per_hour:+.2f} MiB per hour, {per_million:+.2f} MiB per million requests |
| Memory before the load, after it, peak | {rest:.1f}, {resident:.1f}, {peak:.1f} MiB |
| Prompt blocks remembered for affinity, part of that memory | {blocks}, {blocks_growth:+d} over the judged part |
| CPU, telemetry included | {cores:.3f} cores, {cpu_ms:.2f} ms per request |
"""  # noqa: E501 - rows of a table
CHECK_COLUMNS = ("Check", "Measured", "At most", "Verdict")
_MEBIBYTE = 2**20
_BIG_BYTES = 10_000_000


def page(report: dict[str, Any]) -> str:
    """The report as markdown."""
    figures, inputs = report["figures"], report["inputs"]
    return _PAGE.format(
        replicas=inputs["replicas"],
        workers=inputs["workers"],
        scrape_seconds=inputs["scrape_seconds"],
        rate=inputs["requests_per_second"],
        duration_seconds=inputs["duration_seconds"],
        warm_up_seconds=inputs["warm_up_seconds"],
        held_streams=inputs["held_streams"],
        checks=markdown_table(
            CHECK_COLUMNS, map(shown, report["checks"]), texts=len(CHECK_COLUMNS)
        ),
        answered=figures["answered_requests"],
        hung_up=figures["hung_up_requests"],
        streams_mean=figures["streams_open_mean"],
        streams_max=figures["streams_open_max"],
        per_hour=figures["growth_bytes_per_hour"] / _MEBIBYTE,
        per_million=figures["growth_bytes_per_million_requests"] / _MEBIBYTE,
        rest=figures["rest_bytes"] / _MEBIBYTE,
        resident=figures["resident_bytes"] / _MEBIBYTE,
        peak=figures["peak_bytes"] / _MEBIBYTE,
        blocks=figures["affinity_blocks"],
        blocks_growth=figures["affinity_blocks_growth"],
        cores=figures["cpu_cores"],
        cpu_ms=figures["cpu_seconds_per_request"] * 1e3,
    )


def shown(check: dict[str, Any]) -> tuple[str, str, str, str]:
    """A check as text: what, measured, limit, verdict."""
    unit = check["unit"]
    return (
        check["what"],
        _amount(check["measured"], unit),
        _amount(check["limit"], unit),
        "met" if check["is_met"] else "missed",
    )


def _amount(value: float, unit: str) -> str:
    if unit != "bytes":
        return f"{value:g}"
    return f"{value / 1e6:.1f} MB" if abs(value) >= _BIG_BYTES else f"{value / 1e3:.1f} KB"
