"""When a person is needed."""

from capper.observe.rules.rule import Alert

GROUP = "headrace-capper-alerts"
_LAST_TURN = "max by (config) (capper_turn_timestamp_seconds)"


def _condition(kind: str) -> str:
    return f'max by (config) (capper_condition{{type="{kind}"}}) == 1'


ALERTS: tuple[Alert, ...] = (
    Alert(
        name="CapExceeded",
        expr=(
            "max by (config, domain) (capper_domain_watts)\n"
            "  > on (config, domain) min by (config, domain) (capper_domain_cap_watts)"
        ),
        for_seconds=60,
        severity="critical",
        summary="{{ $labels.domain }} of {{ $labels.config }} draws {{ $value }} W, over its cap",
        action=(
            "For a minute the rungs that are enabled were not enough. See the condition"
            " CapUnreachable: floors may be too high for the cap, or only Observe is set."
            " Headrace is no circuit breaker."
        ),
    ),
    Alert(
        name="TelemetryStale",
        expr=_condition("TelemetryStale"),
        for_seconds=60,
        severity="critical",
        summary="{{ $labels.config }} has no watts that can be believed",
        action=(
            "Nothing grows, and after safeAfterSeconds static bounds hold. Look at the condition's"
            " message, at MetricsValid, and at the exporters."
        ),
    ),
    Alert(
        name="CoverageLow",
        expr=_condition("CoverageLow"),
        for_seconds=120,
        severity="warning",
        summary="Too few meters of {{ $labels.config }} report",
        action=(
            "Watts that cover less than minCoverageRatio count as none. Compare"
            " capper:board_expected with capper:board_watts to find the node."
        ),
    ),
    Alert(
        name="RevertFight",
        expr=_condition("RevertFight"),
        for_seconds=0,
        severity="warning",
        summary="Another writer undoes the bounds of {{ $labels.config }}",
        action=(
            "The bound is left alone for half an hour. Let GitOps ignore the field, bound the owner"
            " that writes it (KServe), or use the external scaler."
        ),
    ),
    Alert(
        name="Oscillation",
        expr=_condition("Oscillation"),
        for_seconds=0,
        severity="warning",
        summary="A bound of {{ $labels.config }} went up and down too often",
        action="It rises no more for half an hour. Widen the bands or raise dwellSeconds.",
    ),
    Alert(
        name="BudgetOverAllocated",
        expr=(
            f"({_condition('BudgetOverAllocated')})\n"
            "  or max by (config) (capper_domain_allocated_watts"
            " > on (config, domain) capper_domain_cap_watts)"
        ),
        for_seconds=120,
        severity="warning",
        summary="{{ $labels.config }} has given away more watts than it has",
        action=(
            "Child caps add up to more than their parent's, or the floors of the targets do not fit"
            " under the cap. Lower minReplicas or child caps, or raise the cap."
        ),
    ),
    Alert(
        name="InletHot",
        expr=(
            "max by (config, domain) (capper_domain_inlet_celsius)\n"
            "  > on (config, domain) min by (config, domain) (capper_domain_max_inlet_celsius)"
        ),
        for_seconds=300,
        severity="critical",
        summary="The inlet of {{ $labels.domain }} is at {{ $value }} degrees",
        action="Above maxTemperature for five minutes in spite of less work: look at the cooling.",
    ),
    Alert(
        name="CarbonUnknown",
        expr=_condition("CarbonUnknown"),
        for_seconds=3600,
        severity="warning",
        summary="The carbon intensity of {{ $labels.config }} is not known",
        action=(
            "defaultCapWatts holds, and nothing is counted as emitted. The condition's message says"
            " what the provider answered; capper_carbon_feed_failures_total by which reason."
        ),
    ),
    Alert(
        name="CarbonBudgetSpent",
        expr="max by (config) (capper_carbon_budget_left_grams) <= 0",
        for_seconds=300,
        severity="warning",
        summary="{{ $labels.config }} has emitted its budget before the period is over",
        action=(
            "The cap is down at what the floors draw. Lower minReplicas, or allow more grams; set"
            " carbon.override when service comes first."
        ),
    ),
    Alert(
        name="CoolingUnsure",
        expr="max by (config) (capper_cooling_safe) == 1",
        for_seconds=600,
        severity="warning",
        summary="Cooling of {{ $labels.config }} is held at its safe set-point",
        action=(
            "Something is not known, or the cooling manager fails or does not hold what was"
            " written: see the conditions CoolingUnknown and CoolingFailing."
        ),
    ),
    Alert(
        name="LeaseExpired",
        # A process that hangs keeps its series; one that is gone takes it along.
        expr=(
            f"time() - {_LAST_TURN} > 60\n"
            "  or (max(last_over_time(capper_configurations[1h])) > 0\n"
            "    unless on () max(capper_configurations) > 0)\n"
            "  or sum by (node) (increase(clock_agent_lease_expirations_total[5m])) > 0\n"
            "  or max by (node) (clock_agent_board_safe_limit) > 0"
        ),
        for_seconds=60,
        severity="critical",
        summary="Nobody renews what the capper holds {{ $labels.config }}{{ $labels.node }}",
        action=(
            "With a configuration: no turn of its loop for a minute; prices and allowances have"
            " expired and leases of clocks run out, bounds that were written stay. See whether the"
            " process runs, and which one leads. With a node: leases of its GPUs have run out, or"
            " a safe limit is held; see whether the capper reaches its agent."
        ),
    ),
)
