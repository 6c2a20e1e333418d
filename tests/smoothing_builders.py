"""Weeks and trees for the tests of smoothing."""

from capper.decide.domains import DomainTree
from capper.decide.policy import ROOT, DomainPolicy, NamedCap
from capper.decide.smoothing_traces import WEEK_SECONDS, Instance, TraceRules, Traces

STEP = 6 * 3600.0
STEPS = int(WEEK_SECONDS / STEP)
RULES = TraceRules(step_seconds=STEP, longest_gap_seconds=2 * STEP)
DAY, NIGHT = "day", "night"


def wave(low, high, *, by_day):
    """High in two of the four quarters of each day."""
    quarters = (low, high, high, low) if by_day else (high, low, low, high)
    return tuple(quarters[step % 4] for step in range(STEPS))


def traces(*instances):
    """A fleet; the trace of a service is the mean of its instances."""
    services = {}
    for one in instances:
        services.setdefault(one.service, []).append(one.watts)
    means = {
        name: tuple(sum(at) / len(at) for at in zip(*weeks, strict=True))
        for name, weeks in services.items()
    }
    return Traces(
        step_seconds=STEP,
        instances=tuple(instances),
        services=means,
        coverage_ratios=dict.fromkeys(means, 1.0),
        weeks=1.0,
    )


def instance(name, service, leaf, watts):
    return Instance(name=name, service=service, leaf=leaf, watts=watts)


def day_and_night(*, each=4, leaves=("a", "b")):
    """One service in each of two racks: by day the one, by night the other."""
    return traces(
        *(instance(f"d{n}", DAY, leaves[0], wave(100.0, 700.0, by_day=True)) for n in range(each)),
        *(
            instance(f"n{n}", NIGHT, leaves[1], wave(100.0, 700.0, by_day=False))
            for n in range(each)
        ),
    )


def tree(*leaves, caps=None, rows=None):
    """A root, its rows, its leaves; `rows`: row -> leaves."""
    caps = caps or {}

    def node(name, parent):
        limit = (NamedCap(source="cap", watts=caps[name]),) if name in caps else ()
        return DomainPolicy(name=name, parent=parent, caps=limit)

    above = {leaf: row for row, listed in (rows or {}).items() for leaf in listed}
    return DomainTree(
        (
            node(ROOT, None),
            *(node(row, ROOT) for row in rows or ()),
            *(node(leaf, above.get(leaf, ROOT)) for leaf in leaves),
        )
    )
