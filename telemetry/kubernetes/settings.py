"""What to look for in a cluster."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

ANNOTATION_PREFIX = "headrace.climatik-project.ai/"
"""Annotations of pods that say what cannot be found out otherwise (docs/discovery.md)."""


class TargetKind(StrEnum):
    """What names a set of replicas."""

    INFERENCE_POOL = "InferencePool"
    SERVICE = "Service"
    SELECTOR = "Selector"
    INFERENCE_SERVICE = "InferenceService"
    LLM_INFERENCE_SERVICE = "LLMInferenceService"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One set of replicas.

    Attributes:
        kind: How `name` is to be understood.
        namespace: Where it and its pods are.
        name: Of the object; a SELECTOR has none.
        group: API group of an InferencePool; the API before v1 was "inference.networking.x-k8s.io".
        match_labels: Of a SELECTOR.
        ports: Of a SELECTOR; elsewhere they replace what the object says. Several ports of a pod
            are several replicas (data parallelism).
    """

    kind: TargetKind
    namespace: str
    name: str = ""
    group: str = "inference.networking.k8s.io"
    match_labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ports: tuple[int, ...] = ()

    def __str__(self) -> str:
        """For sentences."""
        what = self.name or ",".join(f"{key}={self.match_labels[key]}" for key in self.match_labels)
        return f"{self.kind} {self.namespace}/{what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesSettings:
    """How to find and watch the fleet.

    Attributes:
        targets: What to serve.
        kubeconfig: Path of a kubeconfig; None: the pod's service account, else $KUBECONFIG or
            ~/.kube/config.
        rack_label: Node label whose value is the power domain of its replicas; nodes without it
            are in `default_domain`.
        default_domain: Power domain of replicas whose rack is not known.
        default_accelerator: Whose prior is used where the node does not say what it has, or has
            something without a prior; the profile then names it as an assumption.
        default_parameters: Weights of a model whose name does not tell, a count.
        models: Served names, when `/v1/models` is not to be asked.
        models_scheme: "http" or "https", for `/v1/models`.
        models_interval_seconds: How often a replica is asked again: adapters come and go.
        models_retry_seconds: How long after an answer that failed.
        resync_seconds: After which everything is listed anew, should a watch have lost an event.
        watch_seconds: How long one watch is asked to last.
        silent_seconds: A watch that says nothing for this long, not even a bookmark (the API
            server sends one a minute), is taken for dead.
        backoff_seconds: First pause after a failure; doubles up to `backoff_limit_seconds`.
        backoff_limit_seconds: Longest pause.
        settle_seconds: Changes that come together within this make one view.
        start_timeout_seconds: How long to wait for the first view.
    """

    targets: tuple[Target, ...]
    kubeconfig: str | None = None
    rack_label: str = "topology.kubernetes.io/rack"
    default_domain: str = "default"
    default_accelerator: str = "H100"
    default_parameters: float = 8e9
    models: tuple[str, ...] = ()
    models_scheme: str = "http"
    models_interval_seconds: float = 10.0
    models_retry_seconds: float = 1.0
    resync_seconds: float = 600.0
    watch_seconds: float = 240.0
    silent_seconds: float = 150.0
    backoff_seconds: float = 0.5
    backoff_limit_seconds: float = 30.0
    settle_seconds: float = 0.05
    start_timeout_seconds: float = 60.0
