"""How asynchronous traces are: SmoothOperator's score, vectors, and groups of like vectors. Pure.

Formulas as in Hsu et al., SmoothOperator, ASPLOS 2018, from secondary sources.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from operator import add

Trace = Sequence[float]


def added(traces: Iterable[Trace]) -> list[float]:
    """The sum of traces of one length; empty for none."""
    total: list[float] = []
    for trace in traces:
        total = list(map(add, total, trace)) if total else list(trace)
    return total


def peak(trace: Trace) -> float:
    """The largest value; 0 for no trace."""
    return max(trace, default=0.0)


def hulls(traces: Iterable[Trace], *, most: int) -> list[tuple[float, ...]]:
    """Each trace as the maxima of `most` blocks of equal length at most: what work is done on.

    Peaks stay, and a sum of hulls is never below the hull of the sum. Equal objects stay one.
    """
    known: dict[int, tuple[float, ...]] = {}
    found = []
    for trace in traces:
        if id(trace) not in known:
            size = max(1, math.ceil(len(trace) / most))
            blocks = (trace[at : at + size] for at in range(0, len(trace), size))
            known[id(trace)] = tuple(max(block) for block in blocks)
        found.append(known[id(trace)])
    return found


def asynchrony(traces: Sequence[Trace]) -> float:
    """A(M) = sum of the peaks over the peak of the sum.

    1: all peak together; the number of traces: no two ever meet. 1 for none or for nothing but 0 W.
    """
    together = peak(added(traces))
    return sum(peak(trace) for trace in traces) / together if together > 0.0 else 1.0


def pair_asynchrony(one: Trace, other: Trace) -> float:
    """A of two."""
    together = max(map(add, one, other), default=0.0)
    return (peak(one) + peak(other)) / together if together > 0.0 else 1.0


def vector(trace: Trace, services: Sequence[Trace]) -> tuple[float, ...]:
    """A_{i,s}: the score of an instance with each service; instances with like ones peak alike."""
    return tuple(pair_asynchrony(trace, service) for service in services)


def top_services(
    services: Mapping[str, Trace], counts: Mapping[str, int], most: int
) -> tuple[str, ...]:
    """The services that draw most together, at the peak of each, the largest first."""
    drawn = {name: counts.get(name, 0) * peak(trace) for name, trace in services.items()}
    return tuple(sorted(drawn, key=lambda name: (-drawn[name], name))[:most])


def k_means(
    vectors: Sequence[Sequence[float]], groups: int, *, seed: int, rounds: int = 100
) -> tuple[int, ...]:
    """The group of each vector, numbered from 0; the same for the same seed.

    Lloyd's rounds from centres that lie far apart: the seed chooses the first, each further one is
    the vector farthest from all before (ties: the first). Fewer groups come out where there are
    fewer different vectors.

    Args:
        vectors: All of one length.
        groups: At most this many, 1 or more.
        seed: Any integer.
        rounds: Most rounds.
    """
    if not vectors:
        return ()
    centres = _far_apart(vectors, groups, seed)
    labels: tuple[int, ...] = ()
    for _ in range(rounds):
        found = tuple(_nearest(one, centres) for one in vectors)
        if found == labels:
            break
        labels = found
        centres = [
            _mean([one for one, label in zip(vectors, labels, strict=True) if label == number])
            or centre
            for number, centre in enumerate(centres)
        ]
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return tuple(numbers[label] for label in labels)


def _far_apart(vectors: Sequence[Sequence[float]], groups: int, seed: int) -> list[Sequence[float]]:
    centres = [vectors[seed % len(vectors)]]
    distances = [math.dist(one, centres[0]) for one in vectors]
    while len(centres) < groups and max(distances) > 0.0:
        centres.append(vectors[distances.index(max(distances))])
        distances = [
            min(before, math.dist(one, centres[-1]))
            for before, one in zip(distances, vectors, strict=True)
        ]
    return centres


def _nearest(one: Sequence[float], centres: Sequence[Sequence[float]]) -> int:
    distances = [math.dist(one, centre) for centre in centres]
    return distances.index(min(distances))


def _mean(vectors: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(math.fsum(values) / len(vectors) for values in zip(*vectors, strict=True))
