"""Builders of values with sensible defaults, for tests of the pure parts."""

from collections.abc import Mapping

from fleet.priors import prior_profile
from fleet.signals import Signal, SignalKind
from fleet.snapshot import FleetSnapshot
from fleet.topology import Backend, Fleet, Replica
from router.decide.request_facts import NO_HINTS, Api, RequestFacts, RequestHints


def make_fleet(
    counts: Mapping[str, int] | None = None, *, models: tuple[str, ...] = ("llama",)
) -> Fleet:
    """Backends of one 8B model by accelerator; addresses 10.0.B.R:8000."""
    backends = []
    for number, (accelerator, count) in enumerate((counts or {"A100": 3, "H100": 3}).items()):
        name = accelerator.lower()
        backends.append(
            Backend(
                name=name,
                accelerator=accelerator,
                parameters=8e9,
                profile=prior_profile(accelerator, parameters=8e9),
                replicas=tuple(
                    Replica(address=f"10.0.{number}.{index}:8000", backend=name, models=models)
                    for index in range(count)
                ),
            )
        )
    return Fleet(tuple(backends))


def make_snapshot(
    fleet: Fleet,
    readings: Mapping[str, Mapping[SignalKind, float]] | None = None,
    *,
    at_seconds: float = 0.0,
    default: Mapping[SignalKind, float] | None = None,
    version: int = 1,
) -> FleetSnapshot:
    """A snapshot with the given readings; every replica answers unless told otherwise."""
    base = {SignalKind.HEALTHY_RATIO: 1.0} if default is None else default
    return FleetSnapshot(
        fleet=fleet,
        signals={
            replica.address: {
                kind: Signal(value, at_seconds)
                for kind, value in {**base, **(readings or {}).get(replica.address, {})}.items()
            }
            for replica in fleet.replicas()
        },
        published_seconds=at_seconds,
        version=version,
    )


def chat(
    model: str = "llama",
    *,
    prompt_bytes: int = 4000,
    output_tokens: int = 200,
    hints: RequestHints = NO_HINTS,
) -> RequestFacts:
    """A chat request of a known answer length."""
    return RequestFacts(
        model=model,
        api=Api.CHAT,
        prompt_bytes=prompt_bytes,
        max_output_tokens=output_tokens,
        ignore_eos=True,
        hints=hints,
    )
