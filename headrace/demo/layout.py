"""What the demo's fleet consists of. Pure."""

from dataclasses import dataclass

MODEL = "llama-3.1-8b"
SECOND_MODEL = "llama-3.1-8b-support"
# The second model gets a tenth of the requests: enough to be seen, too little to rule the fleet.
MODEL_WEIGHTS = {MODEL: 0.9, SECOND_MODEL: 0.1}

BACKENDS = (("a100", "A100", 3), ("h100", "H100", 3), ("b200", "B200", 2))
# On all of them, so that it is served as long as one is awake.
_SECOND_MODEL_BACKEND = "h100"
FLOORS = {"a100": 0, "h100": 1, "b200": 1}
"""Backend -> replicas that no cap puts to sleep: each model keeps one that serves it."""
RATED_WATTS = 3 * 400.0 + 3 * 700.0 + 2 * 1000.0
"""Of all boards together, as the manufacturer rates them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReplica:
    """One replica on one board."""

    name: str
    backend: str
    accelerator: str
    gpu_uuid: str

    @property
    def models(self) -> list[str]:
        """Names that it serves."""
        return [MODEL, SECOND_MODEL] if self.backend == _SECOND_MODEL_BACKEND else [MODEL]


def replicas() -> list[DemoReplica]:
    """All of them, backend by backend."""
    return [
        DemoReplica(
            name=f"{backend}-{index}",
            backend=backend,
            accelerator=accelerator,
            gpu_uuid=f"GPU-demo-{backend}-{index}",
        )
        for backend, accelerator, count in BACKENDS
        for index in range(count)
    ]


def backend_of(replica_name: str) -> str:
    """The backend of a replica of this fleet."""
    return replica_name.rpartition("-")[0]
