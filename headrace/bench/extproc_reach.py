"""The targets of the router's speed, judged from a report of `headrace bench extproc`. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from headrace.bench.extproc_figures import FLOOR, ROUTER, WORKERS
from headrace.bench.extproc_grid import LONG_BYTES, LONG_CONNECTIONS, SMALL_BYTES
from headrace.envoy_plan import EnvoyBodyMode

_CPU_LIMITS = {8: 1.35, 1000: 1.5}
"""CPU per request over the floor's, small bodies, by replicas."""
_FLOORS = {"server_cpu_ratio": "the floor", "tuned_cpu_ratio": "the tuned floor"}
_LONG_LIMITS_SECONDS = {EnvoyBodyMode.BUFFERED: 0.005, EnvoyBodyMode.FULL_DUPLEX: 0.012}
_HALF_LIMITS_SECONDS = {"p50": 0.0008, "p99": 0.004}
_REST_LIMIT_BYTES = 120e6
_LARGE_FLEET = 1000
_TWO, _TWO_LIMIT = "router-2", 1.7
_OTHER_BUSY_PROCESSES = 3  # Envoy, load generator, upstream

_Figures = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """One target.

    Attributes:
        target: As words, with its unit.
        measured: Likewise; None where it was not measured.
        floor: The same of the floor, where that says something.
        verdict: "met", "missed", or why there is none.
    """

    what: str
    target: str
    measured: str | None
    floor: str | None
    verdict: str


def reach(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every target, in the order of the issue that set them."""
    lines = [
        *_cpu(report),
        *_long_prompts(report),
        *_half_of_saturation(report),
        _two_workers(report),
        *_memory(report),
    ]
    return [asdict(line) for line in lines]


def _cpu(report: Mapping[str, Any]) -> Iterator[Reach]:
    """Judged by the worst cell, so that no choice of one flatters."""
    for replicas, limit in _CPU_LIMITS.items():
        for mode in EnvoyBodyMode:
            cells = [
                _arms(cell)
                for cell in report["cells"]
                if (cell["replicas"], cell["body_mode"], cell["body_bytes"])
                == (replicas, mode.value, SMALL_BYTES)
                and cell["connections"] is not None
            ]
            for key, floor in _FLOORS.items():
                ratios = [cell[ROUTER][key] for cell in cells if ROUTER in cell]
                yield _judged(
                    f"CPU per request over that of {floor}, worst of all connections, "
                    f"{replicas} replicas, 0.5 KB, {mode.value}",
                    max((ratio for ratio in ratios if ratio is not None), default=None),
                    limit=limit,
                    shown=lambda value: f"{value:.2f} x",
                )


def _long_prompts(report: Mapping[str, Any]) -> Iterator[Reach]:
    for mode, limit_seconds in _LONG_LIMITS_SECONDS.items():
        arms = _find(report, mode, LONG_BYTES, LONG_CONNECTIONS)
        yield _judged(
            f"added p50, 220 KB, {LONG_CONNECTIONS} connections, {mode.value}",
            _value(arms, ROUTER, "added_p50_seconds"),
            limit=limit_seconds,
            shown=_milliseconds,
            floor=_value(arms, FLOOR, "added_p50_seconds"),
        )


def _half_of_saturation(report: Mapping[str, Any]) -> Iterator[Reach]:
    for mode in EnvoyBodyMode:
        arms = _find(report, mode, SMALL_BYTES, None)
        for name, limit_seconds in _HALF_LIMITS_SECONDS.items():
            yield _judged(
                f"added {name} at half of saturation, 0.5 KB, {mode.value}",
                _value(arms, ROUTER, f"added_{name}_seconds"),
                limit=limit_seconds,
                shown=_milliseconds,
                floor=_value(arms, FLOOR, f"added_{name}_seconds"),
            )


def _two_workers(report: Mapping[str, Any]) -> Reach:
    what, target = "requests/s of 2 workers over 1, most connections", f">= {_TWO_LIMIT} x"
    cells = [
        (cell["connections"], _arms(cell))
        for cell in report["cells"]
        if cell["body_bytes"] == SMALL_BYTES
        and cell["body_mode"] == EnvoyBodyMode.BUFFERED.value
        and {ROUTER, _TWO} <= _arms(cell).keys()
    ]
    if not cells:
        return Reach(what=what, target=target, measured=None, floor=None, verdict="not measured")
    _, arms = max(cells, key=lambda it: it[0])
    ratio = arms[_TWO]["requests_per_second"] / arms[ROUTER]["requests_per_second"]
    cores, wanted = report["machine"]["cores"], WORKERS[_TWO] + _OTHER_BUSY_PROCESSES
    verdict = "met" if ratio >= _TWO_LIMIT else "missed"
    if cores < wanted:
        verdict = f"not judged: {cores} cores for {wanted} busy processes"
    return Reach(what=what, target=target, measured=f"{ratio:.2f} x", floor=None, verdict=verdict)


def _memory(report: Mapping[str, Any]) -> Iterator[Reach]:
    rest = [
        one["rest_worker_bytes"]
        for one in report["usage"]
        if one["arm"] in {ROUTER, *WORKERS} and one["replicas"] == _LARGE_FLEET
    ]
    yield _judged(
        f"memory of the largest worker of all arms at rest, {_LARGE_FLEET} replicas",
        max(rest, default=None),
        limit=_REST_LIMIT_BYTES,
        shown=lambda value: f"{value / 1e6:.0f} MB",
    )


def _judged(
    what: str,
    measured: float | None,
    *,
    limit: float,
    shown: Callable[[float], str],
    floor: float | None = None,
) -> Reach:
    verdict = "not measured"
    if measured is not None:
        verdict = "met" if measured <= limit else "missed"
    return Reach(
        what=what,
        target=f"<= {shown(limit)}",
        measured=None if measured is None else shown(measured),
        floor=None if floor is None else shown(floor),
        verdict=verdict,
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f} ms"


def _find(
    report: Mapping[str, Any], mode: EnvoyBodyMode, body_bytes: int, connections: int | None
) -> dict[str, _Figures]:
    """The arms of a cell of the smallest fleet; none where there is no such cell."""
    for cell in report["cells"]:
        if (cell["body_mode"], cell["body_bytes"], cell["connections"]) == (
            mode.value,
            body_bytes,
            connections,
        ):
            return _arms(cell)
    return {}


def _arms(cell: Mapping[str, Any]) -> dict[str, _Figures]:
    figures: Sequence[_Figures] = cell["figures"]
    return {one["arm"]: one for one in figures}


def _value(arms: Mapping[str, _Figures], arm: str, key: str) -> float | None:
    return arms[arm][key] if arm in arms else None
