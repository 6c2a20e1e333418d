"""The declared fleet: backends, their replicas, and the latency each promises."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from fleet.profile import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """The latency a backend's requests are promised.

    Attributes:
        ttft_seconds: Time to first token.
        tpot_seconds: Time per output token after the first.
        margin_ratio: The part of each objective that predictions may use up. Simulated on Azure
            conversations, 0.87 keeps 99 % joint attainment from idle to nearly full with the guard
            on inflow, and 0.9 does not on every slice (docs/decisions/0012-guard-on-inflow.md).
    """

    ttft_seconds: float = 1.0
    tpot_seconds: float = 0.05
    margin_ratio: float = 0.87


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One serving endpoint: one engine, any tensor parallelism.

    Attributes:
        address: "ip:port", the replica's identity in Envoy, metrics and logs.
        backend: Name of the backend that owns it.
        models: Names it serves. Normally its backend's; its own where adapters differ.
        gpu_uuids: Boards it runs on, to attribute watts. Empty: attributed by pod.
        namespace: Kubernetes namespace of its pod, when known.
        pod: Kubernetes pod name, when known.
        node: Host name, when known.
        domain: Power domain (rack, PDU, row) whose cap and price apply.
    """

    address: str
    backend: str
    models: tuple[str, ...]
    gpu_uuids: tuple[str, ...] = ()
    namespace: str | None = None
    pod: str | None = None
    node: str | None = None
    domain: str = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A Deployment / InferenceService: replicas of one engine set-up on one accelerator type.

    Attributes:
        name: Unique in the fleet.
        accelerator: For example "H100".
        gpus_per_replica: Boards of one replica (its tensor parallelism).
        parameters: Weights of the model, a count (8e9 for an 8B model).
        max_running_requests: The engine's batch limit (vLLM --max-num-seqs).
        objective: Latency promised to requests that name none.
        profile: Prior of time and power; the router refines it from telemetry.
        replicas: Its endpoints.
    """

    name: str
    accelerator: str
    gpus_per_replica: int = 1
    parameters: float
    max_running_requests: int = 256
    objective: Objective = field(default_factory=Objective)
    profile: Profile
    replicas: tuple[Replica, ...]


@dataclass(frozen=True, slots=True)
class Fleet:
    """All backends. Addresses and backend names are unique (the configuration checks it)."""

    backends: tuple[Backend, ...]

    def replicas(self) -> Iterator[Replica]:
        """Every replica, in declaration order."""
        for backend in self.backends:
            yield from backend.replicas

    def models(self) -> tuple[str, ...]:
        """The union of served model names, sorted."""
        return tuple(sorted({model for replica in self.replicas() for model in replica.models}))
