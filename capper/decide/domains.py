"""The tree of power domains, tolerant of what a user may write: every path ends at the root."""

from collections.abc import Iterable
from typing import NamedTuple

from capper.decide.policy import ROOT, DomainPolicy


class OverAllocation(NamedTuple):
    """Children whose caps add up to more than their parent's: lawful, but not all at once."""

    parent: str
    children_watts: float
    parent_watts: float


class DomainTree:
    """Who feeds whom.

    Attributes:
        root: Name of the domain of all watts.
        domains: By name, in the policy's order; never empty.
    """

    def __init__(self, domains: Iterable[DomainPolicy]) -> None:
        """Take the first domain without a parent as the root; without one, an unlimited root."""
        self.domains = {domain.name: domain for domain in domains}
        roots = [domain.name for domain in self.domains.values() if domain.parent is None]
        self.root = roots[0] if roots else ROOT
        self.domains.setdefault(self.root, DomainPolicy(name=self.root))
        self._paths = {name: self._climb(name) for name in self.domains}

    def path(self, name: str) -> tuple[str, ...]:
        """The domain and all that feed it, the root last; an unknown name is fed by the root."""
        return self._paths.get(name, (self.root,))

    def leaves(self) -> tuple[str, ...]:
        """Domains that feed no other, where prices are read."""
        feeding = {name for path in self._paths.values() for name in path[1:]}
        return tuple(name for name in self.domains if name not in feeding)

    def children(self, name: str) -> tuple[str, ...]:
        """Domains that it feeds directly."""
        return tuple(
            child for child, path in self._paths.items() if len(path) > 1 and path[1] == name
        )

    def over_allocated(self) -> list[OverAllocation]:
        """Parents whose cap is below the sum of their children's."""
        found = []
        for name, domain in self.domains.items():
            caps = [self.domains[child].cap for child in self.children(name)]
            watts = sum(cap.watts for cap in caps if cap is not None)
            if domain.cap is not None and watts > domain.cap.watts * (1.0 + 1e-9):
                found.append(OverAllocation(name, watts, domain.cap.watts))
        return found

    def _climb(self, name: str) -> tuple[str, ...]:
        path, above = [name], self.domains[name].parent
        while above in self.domains and above not in path:
            path.append(above)
            above = self.domains[above].parent
        if path[-1] != self.root:
            # A parent that is not there, a ring, or a second root.
            path = (
                [*path, self.root] if self.root not in path else path[: path.index(self.root) + 1]
            )
        return tuple(path)
