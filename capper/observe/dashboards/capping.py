"""The capper's page: watts against caps, what is done about them, and whether it can see."""

from capper.observe.dashboards.panel import Dashboard, Panel, Variable

_OF = '{config=~"$config"}'
_DOMAINS = '{config=~"$config",domain=~"$domain"}'
_NAMES = "{{config}} {{domain}}"
_TARGET = "{{target}}"
_EFFECTS = "rate(capper_decision_to_effect_seconds_bucket[1h])"

_POWER = (
    Panel(
        title="Watts against cap",
        unit="watt",
        queries=(
            (f"capper_domain_watts{_DOMAINS}", _NAMES),
            (f"capper_domain_cap_watts{_DOMAINS}", f"cap {_NAMES}"),
            (f"capper_domain_allocated_watts{_DOMAINS}", f"allocated {_NAMES}"),
        ),
        meaning="Worst of the last three samples of each domain. Gaps are times without watts.",
        width=16,
        dashed=("cap ",),
    ),
    Panel(
        title="Part of the cap",
        unit="percentunit",
        queries=((f"capper_domain_watts{_DOMAINS} / capper_domain_cap_watts{_DOMAINS}", _NAMES),),
        meaning="Watch from 80 %, Restrict from 95 %, Shed from 100 % (defaults).",
        width=8,
    ),
    Panel(
        title="Band",
        unit="short",
        queries=((f"capper_domain_band{_DOMAINS}", _NAMES),),
        meaning="0 Normal, 1 Watch, 2 Restrict, 3 Shed.",
        width=8,
    ),
    Panel(
        title="Inlet temperature",
        unit="celsius",
        queries=(
            (f"capper_domain_inlet_celsius{_DOMAINS}", _NAMES),
            (f"capper_domain_max_inlet_celsius{_DOMAINS}", f"limit {_NAMES}"),
        ),
        meaning="The hottest inlet of each rack.",
        width=8,
        dashed=("limit ",),
    ),
    Panel(
        title="Racks by source",
        unit="watt",
        queries=(("capper:rack_watts", "{{rack}} {{source}}"),),
        meaning="The same racks by PDU, by management controllers and by GPU boards alone.",
        width=8,
    ),
)
_WORK = (
    Panel(
        title="Replicas and bounds",
        unit="short",
        queries=(
            (f"capper_target_replicas{_OF}", _TARGET),
            (f"capper_target_bound_replicas{_OF}", f"bound {_TARGET}"),
            (f"capper_target_floor_replicas{_OF}", f"floor {_TARGET}"),
        ),
        meaning="Running replicas, what is allowed now, and what is never gone below.",
        dashed=("bound ", "floor "),
    ),
    Panel(
        title="Tokens per joule",
        unit="short",
        queries=((f"capper_target_tokens_per_joule{_OF}", _TARGET),),
        meaning="Output tokens per joule; no value while idle or half-blind.",
    ),
    Panel(
        title="Watts of targets",
        unit="watt",
        queries=((f"capper_target_watts{_OF}", _TARGET),),
        meaning="For ranking; the caps are compared with the domains.",
    ),
    Panel(
        title="Clock locks",
        unit="hertz",
        queries=((f"capper_target_clock_hertz{_OF}", _TARGET),),
        meaning="SM clock locks that are to be in force.",
    ),
)
_DECISIONS = (
    Panel(
        title="Decisions",
        unit="short",
        queries=(
            (
                f"sum by (action, outcome) (increase(capper_actions_total{_OF}[$__rate_interval]))",
                "{{action}} {{outcome}}",
            ),
        ),
        meaning="Actions by how they ended. Recommended ones were not carried out.",
    ),
    Panel(
        title="Price of power and shedding",
        unit="short",
        queries=(
            (f"capper_domain_price_ratio{_DOMAINS}", f"price {_NAMES}"),
            (f"capper_domain_shed_level{_DOMAINS}", f"shed {_NAMES}"),
        ),
        meaning="First and last rung of the ladder.",
    ),
    Panel(
        title="From decision to effect",
        unit="s",
        queries=(
            (
                f"histogram_quantile(0.95, sum by (action, le) ({_EFFECTS}))",
                "95 % {{action}}",
            ),
        ),
        meaning="What the margins have to cover. Replica bounds take minutes.",
    ),
    Panel(
        title="Conditions",
        unit="short",
        queries=((f"sum by (type) (capper_condition{_OF}) > 0", "{{type}}"),),
        meaning="Configurations in which a condition holds.",
    ),
)
_SIGHT = (
    Panel(
        title="Age of the newest sample",
        unit="s",
        queries=((f"capper_domain_sample_age_seconds{_DOMAINS}", _NAMES),),
        meaning="Above 45 s (default) it is not believed.",
        width=8,
    ),
    Panel(
        title="Coverage",
        unit="percentunit",
        queries=((f"capper_domain_coverage_ratio{_DOMAINS}", _NAMES),),
        meaning="Below 80 % (default) watts count as none.",
        width=8,
    ),
    Panel(
        title="Seconds since the last turn",
        unit="s",
        queries=((f"time() - capper_turn_timestamp_seconds{_OF}", "{{config}}"),),
        meaning="Prices expire after six periods without a turn.",
        width=8,
    ),
)

_GRID = (
    Panel(
        title="Carbon intensity",
        unit="short",
        queries=((f"capper_carbon_intensity_grams_per_kwh{_OF}", "{{config}}"),),
        meaning="gCO2e/kWh. Gaps are times in which it is not known: then defaultCapWatts holds.",
    ),
    Panel(
        title="Cap by carbon",
        unit="watt",
        queries=(
            (f"capper_carbon_cap_watts{_OF}", "{{config}}"),
            (f"capper_carbon_cap_watts{_OF} and capper_carbon_eco_mode{_OF} == 1", "in force"),
        ),
        meaning="The lowest cap that carbon asks for, and while it is in force.",
        dashed=("in force",),
    ),
    Panel(
        title="Emissions",
        unit="short",
        queries=(
            (f"increase(capper_carbon_emitted_grams_total{_OF}[1h])", "{{config}} {{kind}}, 1 h"),
            (f"capper_carbon_budget_left_grams{_OF}", "left {{config}}"),
        ),
        meaning="gCO2e of the last hour, and what is left of the budget.",
        dashed=("left ",),
    ),
    Panel(
        title="Carbon feed",
        unit="short",
        queries=(
            (
                f"sum by (config, reason) (increase(capper_carbon_feed_failures_total{_OF}[1h]))",
                "{{config}} {{reason}}",
            ),
            (f"capper_carbon_forecast_ahead_seconds{_OF} / 3600", "hours ahead {{config}}"),
        ),
        meaning="Failed questions by reason, and how many hours the forecast still reaches.",
        dashed=("hours ahead",),
    ),
    Panel(
        title="Supply air",
        unit="celsius",
        queries=(
            (f"capper_cooling_supply_set_celsius{_OF}", "set {{config}}"),
            (f"capper_cooling_supply_in_force_celsius{_OF}", "in force {{config}}"),
            (f"capper_cooling_supply_celsius{_OF}", "measured {{config}}"),
        ),
        meaning="Set-point, what the manager holds, and what is measured.",
        dashed=("set ",),
    ),
    Panel(
        title="Cooling control",
        unit="short",
        queries=(
            (f"capper_cooling_safe{_OF}", "safe {{config}}"),
            (
                f"sum by (config, reason) (increase(capper_cooling_failures_total{_OF}[1h]))",
                "{{config}} {{reason}}",
            ),
        ),
        meaning="1 on the safe set-point; failed questions to the manager by reason.",
    ),
)

CAPPING = Dashboard(
    uid="headrace-capping",
    title="Headrace: power capping",
    variables=(
        Variable(name="config", metric="capper_holds", label="config"),
        Variable(name="domain", metric="capper_domain_band", label="domain"),
    ),
    rows=(
        ("Power", _POWER),
        ("Workloads", _WORK),
        ("Decisions", _DECISIONS),
        ("Sight", _SIGHT),
        ("Grid and room", _GRID),
    ),
)
