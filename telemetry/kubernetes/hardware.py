"""What a pod runs on, from its own spec, its annotations and its node's labels."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from fleet.priors import ACCELERATORS
from telemetry.kubernetes.objects import KubeObject, at
from telemetry.kubernetes.settings import ANNOTATION_PREFIX

_PRODUCT_LABELS = (
    "nvidia.com/gpu.product",  # NVIDIA GPU feature discovery
    "amd.com/gpu.product-name",  # AMD node labeller
    "beta.amd.com/gpu.product-name",
)
_GPU_RESOURCE = re.compile(r"^(nvidia\.com/(gpu|mig-.+)|amd\.com/gpu)(\.shared)?$")
_MAX_NUM_SEQS = re.compile(r"--max[-_]num[-_]seqs(?:[= ]+|$)(\d+)?")
# "Llama-3.1-8B", "qwen3-30b-a3b" (all its weights count, not the active ones), "Mixtral-8x7B".
_SIZE = re.compile(r"(?<![A-Za-z0-9.])(?:(\d+)x)?(\d+(?:\.\d+)?)[bB](?![A-Za-z0-9])")


class Annotations(NamedTuple):
    """What the pod's owner says itself, which goes before all that is found out.

    Attributes:
        accelerator: Name, for example "H100".
        gpus_per_replica: Boards of one replica.
        parameters: Weights, a count.
        max_running_requests: The engine's batch limit.
        domain: Power domain.
        models: Served names.
        ttft_seconds: Objective of time to first token.
        tpot_seconds: Objective of time per output token.
    """

    accelerator: str | None = None
    gpus_per_replica: int | None = None
    parameters: float | None = None
    max_running_requests: int | None = None
    domain: str | None = None
    models: tuple[str, ...] = ()
    ttft_seconds: float | None = None
    tpot_seconds: float | None = None


def read_annotations(pod: KubeObject) -> tuple[Annotations, list[str]]:
    """The annotations, and a sentence for each that makes no sense."""
    texts: Mapping[str, str] = at(pod, "metadata", "annotations") or {}
    read: dict[str, Any] = {}
    problems = []
    for name, parse in _PARSERS.items():
        text = texts.get(ANNOTATION_PREFIX + name.replace("_", "-"))
        if text is None:
            continue
        value = parse(text.strip())
        if value is None:
            problems.append(
                f"annotation {ANNOTATION_PREFIX}{name.replace('_', '-')}: {text!r} is not "
                f"{_ALLOWED[parse]} and is ignored"
            )
        else:
            read[name] = value
    return Annotations(**read), problems


def product(node: KubeObject | None) -> str | None:
    """What the node's labels call its boards."""
    labels: Mapping[str, str] = at(node, "metadata", "labels") or {}
    return next((labels[name] for name in _PRODUCT_LABELS if labels.get(name)), None)


def accelerator_of(product_name: str) -> str:
    """The name of a prior where the product is known, else the product's own.

    "NVIDIA-H100-80GB-HBM3" is an H100; a GH200 is not an H200.
    """
    words = re.split(r"[-_ ]", product_name)
    return next((name for name in ACCELERATORS if name in words), product_name)


def gpu_count(pod: KubeObject) -> int:
    """Boards (or slices of boards) that the pod's containers hold together."""
    total = 0
    for container in _containers(pod):
        limits: Mapping[str, object] = at(container, "resources", "limits") or {}
        for name, amount in limits.items():
            if _GPU_RESOURCE.match(name) and str(amount).isdigit():
                total += int(str(amount))
    return total


def max_running_requests(pod: KubeObject) -> int | None:
    """The value of --max-num-seqs (vLLM) among the containers' arguments."""
    for container in _containers(pod):
        words = [*(container.get("command") or ()), *(container.get("args") or ())]
        match = _MAX_NUM_SEQS.search(" ".join(str(word) for word in words))
        if match and match[1]:
            return int(match[1]) or None
    return None


def parameters_of(names: tuple[str, ...]) -> float | None:
    """Weights as the first name that tells has them: 8e9 for "Llama-3.1-8B"."""
    for name in names:
        if match := _SIZE.search(name):
            return float(match[1] or 1) * float(match[2]) * 1e9
    return None


def _containers(pod: KubeObject) -> Iterator[KubeObject]:
    yield from at(pod, "spec", "containers") or ()


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and int(text) > 0 else None


def _positive(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def _name(text: str) -> str | None:
    return text or None


def _names(text: str) -> tuple[str, ...] | None:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip())) or None


_PARSERS = {
    "accelerator": _name,
    "gpus_per_replica": _count,
    "parameters": _positive,
    "max_running_requests": _count,
    "domain": _name,
    "models": _names,
    "ttft_seconds": _positive,
    "tpot_seconds": _positive,
}
_ALLOWED = {
    _name: "a name",
    _count: "an integer above 0",
    _positive: "a number above 0",
    _names: "a comma-separated list of names",
}
