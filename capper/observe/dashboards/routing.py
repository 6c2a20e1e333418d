"""The router's page: where requests go, their joules and carbon, how old its view is."""

from capper.observe.dashboards.panel import Dashboard, Panel, Variable

_OF = '{backend=~"$backend"}'
_BACKEND = "{{backend}}"


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{_OF}[$__rate_interval]))"


_PICKS = (
    Panel(
        title="Picks",
        unit="reqps",
        queries=(
            (_rate("headrace_router_picks_total", "backend, reason"), "{{backend}} {{reason}}"),
        ),
        meaning="Requests sent to each backend, and why there.",
    ),
    Panel(
        title="In flight",
        unit="short",
        queries=((f"headrace_router_requests_in_flight{_OF}", _BACKEND),),
        meaning="The ledger of the router.",
    ),
    Panel(
        title="Refused",
        unit="reqps",
        queries=(
            (
                "sum by (reason) (rate(headrace_router_rejections_total[$__rate_interval]))",
                "{{reason}}",
            ),
        ),
        meaning="`shed` is the capper's brake, too.",
    ),
    Panel(
        title="Replicas that carry the load",
        unit="short",
        queries=(("headrace_router_committed_replicas", "{{model}}"),),
        meaning="The others may sleep.",
    ),
)
_ENERGY = (
    Panel(
        title="Joules per request",
        unit="joule",
        queries=(
            (
                _rate("headrace_router_request_joules_sum", "backend")
                + " / "
                + _rate("headrace_router_request_joules_count", "backend"),
                _BACKEND,
            ),
        ),
        meaning="Idle power included.",
    ),
    Panel(
        title="Tokens per joule",
        unit="short",
        queries=(
            (
                _rate("headrace_router_output_tokens_total", "backend")
                + " / "
                + _rate("headrace_router_request_joules_sum", "backend"),
                _BACKEND,
            ),
        ),
        meaning="Output tokens of ended requests over their joules.",
    ),
    Panel(
        title="Saved power",
        unit="watt",
        queries=(
            (
                _rate("headrace_router_counterfactual_joules_total", "backend")
                + " - "
                + _rate("headrace_router_predicted_joules_total", "backend"),
                _BACKEND,
            ),
        ),
        meaning="Predicted, against what least-request would have picked.",
    ),
    Panel(
        title="Busy and idle power",
        unit="watt",
        queries=(
            (_rate("headrace_router_busy_joules_total", "backend"), f"busy {_BACKEND}"),
            (_rate("headrace_router_idle_joules_total", "backend"), f"idle {_BACKEND}"),
        ),
        meaning="Power of replicas with and without own requests.",
    ),
)
_CARBON = (
    Panel(
        title="Carbon intensity",
        unit="short",
        queries=(("headrace_router_carbon_intensity_grams_per_kwh", "{{domain}}"),),
        meaning="gCO2e per kWh.",
        width=8,
    ),
    Panel(
        title="Emissions",
        unit="short",
        queries=((_rate("headrace_router_grams_co2e_total", "backend") + " * 3600", _BACKEND),),
        meaning="gCO2e per hour.",
        width=8,
    ),
    Panel(
        title="Carbon per request",
        unit="short",
        queries=(("headrace_router_sci_grams_per_request", "{{model}} embodied {{embodied}}"),),
        meaning="Software Carbon Intensity, gCO2e.",
        width=8,
    ),
)
_SIGHT = (
    Panel(
        title="Age of the snapshot",
        unit="s",
        queries=(("headrace_router_snapshot_age_seconds", "{{instance}}"),),
        meaning="What decisions are made on.",
        width=8,
    ),
    Panel(
        title="Signals",
        unit="short",
        queries=(
            ("sum by (kind, freshness) (headrace_telemetry_signals)", "{{kind}} {{freshness}}"),
        ),
        meaning="Replicas whose reading is fresh, stale or absent.",
        width=8,
    ),
    Panel(
        title="Error of the power profile",
        unit="percentunit",
        queries=((f"headrace_router_power_prediction_ratio{_OF}", _BACKEND),),
        meaning="Predicted over measured watts.",
        width=8,
    ),
)
_PROCESSES = (
    Panel(
        title="Open streams",
        unit="short",
        queries=(("headrace_router_streams_open", "{{instance}}"),),
        meaning="One for each request that Envoy has not ended.",
        width=8,
    ),
    Panel(
        title="Worker restarts",
        unit="short",
        queries=(
            ("increase(headrace_worker_restarts_total[1h])", "{{instance}} {{worker}}"),
            ("1 - headrace_worker_up", "{{instance}} {{worker}} is down"),
        ),
        meaning="In the last hour; of routers with several workers.",
        width=8,
    ),
    Panel(
        title="Memory of workers",
        unit="bytes",
        queries=(("headrace_worker_resident_memory_bytes", "{{instance}} {{worker}}"),),
        meaning="Some 100 MB with a thousand replicas, and 30 KB for each open stream.",
        width=8,
    ),
)

ROUTING = Dashboard(
    uid="headrace-routing",
    title="Headrace: routing and energy",
    variables=(
        Variable(name="backend", metric="headrace_router_requests_in_flight", label="backend"),
    ),
    rows=(
        ("Picks", _PICKS),
        ("Energy", _ENERGY),
        ("Carbon", _CARBON),
        ("Sight", _SIGHT),
        ("Processes", _PROCESSES),
    ),
)
