"""What the capper shows on /debug/capping, as the table wants it, and what changed when. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One change.

    Attributes:
        at_seconds: Since the first arrival, when it was first seen.
        subject: A backend or a domain.
        change: What.
        why: The plan's own sentence.
    """

    at_seconds: float
    subject: str
    change: str
    why: str

    def sentence(self) -> str:
        """For people."""
        return f"{self.at_seconds:.0f} s {self.subject}: {self.change} ({self.why})"

    def to_dict(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self)


@dataclass(slots=True)
class CappingLog:
    """Reads page after page.

    Attributes:
        domain: The newest of the whole fleet; empty before the first.
        awake: Replicas that are awake by backend, where known.
        decisions: Oldest first.
    """

    domain: Mapping[str, Any] = field(default_factory=dict)
    awake: dict[str, int] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    _bounds: dict[str, int] = field(default_factory=dict)

    def see(self, page: Mapping[str, Any], *, at_seconds: float) -> None:
        """Take in one page; its first configuration and first domain are the fleet's."""
        for shown in page.values():
            domains = shown["domains"]
            if domains:
                self._see_domain(domains[0], shown["explanation"], at_seconds)
            for target in shown["targets"]:
                self._see_target(target, at_seconds)

    def _see_domain(self, domain: Mapping[str, Any], why: str, at_seconds: float) -> None:
        before, self.domain = self.domain, domain
        if not before:
            return
        forms = {"cap_watts": "cap {}", "band": "band {}", "price_ratio": "price {}"}
        for key, form in {**forms, "shed": "refuses {}"}.items():
            old, new = _shown(before[key]), _shown(domain[key])
            if old != new:
                reason = "the configuration was rewritten" if key == "cap_watts" else why
                self._add(at_seconds, domain["name"], form.format(f"{old} -> {new}"), reason)

    def _see_target(self, target: Mapping[str, Any], at_seconds: float) -> None:
        backend = target["ref"].rpartition("/")[2]
        if target["current_replicas"] is not None:
            self.awake[backend] = target["current_replicas"]
        bound = target["bound"]
        if bound is None:
            return
        before = self._bounds.get(backend)
        self._bounds[backend] = bound
        if before is not None and before != bound:
            self._add(at_seconds, backend, f"replicas {before} -> {bound}", target["why"])

    def _add(self, at_seconds: float, subject: str, change: str, why: str) -> None:
        self.decisions.append(
            Decision(at_seconds=at_seconds, subject=subject, change=change, why=why)
        )

    def sentence(self) -> str:
        """Where the fleet stands under its cap, and what was done last."""
        if not self.domain:
            return "the capper has not looked yet"
        watts = self.domain["watts"]
        shown = "?" if watts is None else f"{watts:.0f}"
        stands = (
            f"{shown} W of {self.domain['cap_watts']:.0f} W, band {self.domain['band']}, "
            f"price {self.domain['price_ratio']:g}, refuses {self.domain['shed']}"
        )
        last = f"; last: {self.decisions[-1].sentence()}" if self.decisions else ""
        return f"capper (simulated watts): {stands}{last}"


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
