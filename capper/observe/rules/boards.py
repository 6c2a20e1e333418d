"""Watts of GPU boards, each once, whichever exporters tell of it."""

from capper.observe.rules.promql import first_label, first_of, per_second, within
from capper.observe.rules.rule import Recording

_DCGM_ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
_DCGM_POWER = "DCGM_FI_DEV_POWER_USAGE"
_DCGM_LIMITS = ("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", "DCGM_FI_DEV_POWER_MGMT_LIMIT")
_AMD_ENERGY = "gpu_energy_consumed"
_AMD_POWER = ("gpu_package_power", "gpu_average_package_power", "gpu_power_usage")
_KEPLER_POWER = "kepler_node_gpu_watts"
_MAX_WATTS = 1e4  # no board draws more; a sensor's nonsense does


def _dcgm(expr: str) -> str:
    """One value per board: MIG slices, time slices and second scrapes are duplicates of it."""
    named = first_label(expr, "node", "node", "Hostname", "hostname")
    return f"max by (node, board) ({first_label(named, 'board', 'UUID', 'gpu')})"


def _amd(expr: str) -> str:
    """One value per board: both dies of an MI250 have its serial number, the power is on one."""
    named = first_label(expr, "node", "node", "hostname")
    return f"max by (node, board) ({first_label(named, 'board', 'serial_number', 'gpu_id')})"


def _kepler(expr: str) -> str:
    named = first_label(expr, "node", "node_name", "node")
    return f"max by (node, board) ({first_label(named, 'board', 'gpu_uuid', 'gpu')})"


def _whole(counter: str, per_joule: str) -> str:
    """Watts of a counter that was there for the whole minute: of a new one a rate is too low."""
    return f"({per_second(counter)} and count_over_time({counter}[1m]) >= 4) / {per_joule}"


def _families(watts: bool) -> str:
    """Energy counters first: they miss nothing between two scrapes.

    Kepler tells of the same boards as DCGM, perhaps under another name of the node, so only the
    board is compared there.
    """
    dcgm = [_whole(_DCGM_ENERGY, "1000"), _DCGM_POWER, f"{per_second(_DCGM_ENERGY)} / 1000"]
    amd = [_whole(_AMD_ENERGY, "1e6"), *_AMD_POWER, f"{per_second(_AMD_ENERGY)} / 1e6"]
    kepler = _KEPLER_POWER
    if not watts:
        dcgm = [f"timestamp({name})" for name in (_DCGM_ENERGY, _DCGM_POWER)]
        amd = [f"timestamp({name})" for name in (_AMD_ENERGY, *_AMD_POWER)]
        kepler = f"timestamp({kepler})"
    parts = [*map(_dcgm, dcgm), *map(_amd, amd)]
    last = _kepler(kepler)
    if watts:
        parts = [within(part, 0, _MAX_WATTS) for part in parts]
        last = within(last, 0, _MAX_WATTS)
    return f"({first_of(parts)})\n  or on (board) {last}"


_LATCHED = "capper:board_expected"

BOARDS = (
    Recording(
        record="capper:board_watts",
        expr=_families(watts=True),
        meaning="Each GPU board: from its energy counter over a minute, else from its power gauge.",
    ),
    Recording(
        record="capper:board_seen_seconds",
        expr=_families(watts=False),
        meaning="When the exporter's answer came, epoch seconds; also of boards without watts.",
    ),
    Recording(
        record="capper:board_limit_watts",
        expr=first_of(within(_dcgm(name), 0, _MAX_WATTS) for name in _DCGM_LIMITS),
        meaning="What the board may draw, for the sanity filter.",
    ),
    Recording(
        record=_LATCHED,
        # Once seen, expected for as long as the node is there: a lost exporter takes its own
        # series and its own scrape target with it.
        expr=(
            "group by (node, board) (capper:board_seen_seconds)\n"
            f"  or ({_LATCHED} and on (node) kube_node_info)\n"
            f"  or ({_LATCHED} unless on () kube_node_info)"
        ),
        meaning="1 for each board that should report.",
    ),
    Recording(
        record="capper:node_boards_expected",
        expr=(
            f"count by (node) ({_LATCHED})\n"
            "  or on (node) max by (node) "
            '(kube_node_status_allocatable{resource=~"nvidia_com_gpu|amd_com_gpu"} > 0)'
        ),
        meaning="Boards by node; of a node that never reported, the GPUs it offers.",
    ),
)
