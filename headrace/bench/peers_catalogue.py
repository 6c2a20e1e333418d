"""The rivals of `headrace bench peers`: what to install, how to start it, when it serves. Pure.

Versions are pinned so that a report says what it measured. Each rival runs the load-aware policy
that it has by default, with one server process, nothing logged per request where it can be told so,
and its own choice of threads.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

URLS = "{urls}"
"""Among a rival's arguments: the upstreams, one argument each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one rival runs.

    Attributes:
        addresses: The upstreams, `ip:port`.
        model: That they serve.
        port: Of its own listener, on loopback.
        metrics_port: For rivals that serve metrics on a port of their own.
        config_path: For rivals that read a file.
    """

    addresses: Sequence[str]
    model: str
    port: int
    metrics_port: int
    config_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One rival.

    Attributes:
        name: Also of its folder.
        what: In a few words, for the page.
        requirement: `name==version` as pip reads it; None where no index has it and the user
            installs it by hand.
        command: Console script of its virtual environment.
        arguments: `URLS`, and the fields of `Place` and `url_list` in braces, stand for their
            values.
        ready_path: Answers 200 when it serves.
        policy: Which one runs, and why that.
        body: What it does with a request's body.
        environment: More variables.
        config: What its file holds, for one that reads a file; written as YAML.
        missing: Why there is no requirement.
    """

    name: str
    what: str
    requirement: str | None
    command: str
    arguments: tuple[str, ...]
    ready_path: str
    policy: str
    body: str
    environment: Mapping[str, str] = field(default_factory=dict)
    config: Callable[[Place], dict[str, Any]] | None = None
    missing: str = ""

    def argv(self, place: Place) -> list[str]:
        """The arguments with their values."""
        urls = [f"http://{address}" for address in place.addresses]
        values = {
            "port": place.port,
            "metrics_port": place.metrics_port,
            "config_path": place.config_path,
            "url_list": ",".join(urls),
            "model_list": ",".join([place.model] * len(urls)),
        }
        argv: list[str] = []
        for argument in self.arguments:
            argv += urls if argument == URLS else [argument.format_map(values)]
        return argv


_TREE = "reads the whole JSON and keeps the prompt's text in a radix tree"


def _litellm_config(place: Place) -> dict[str, Any]:
    """One deployment per upstream."""
    return {
        "model_list": [
            {
                "model_name": place.model,
                "litellm_params": {
                    "model": f"hosted_vllm/{place.model}",
                    "api_base": f"http://{address}/v1",
                    "api_key": "none",
                },
            }
            for address in place.addresses
        ],
        "router_settings": {"routing_strategy": "least-busy"},
    }


PEERS = (
    Peer(
        name="vllm-router",
        what="vLLM's own router, an HTTP proxy in Rust",
        requirement="vllm-router==0.1.17",
        command="vllm-router",
        arguments=(
            *("--host", "127.0.0.1", "--port", "{port}"),
            *("--prometheus-host", "127.0.0.1", "--prometheus-port", "{metrics_port}"),
            *("--policy", "cache_aware", "--log-level", "warning"),
            *("--worker-startup-check-interval", "1", "--worker-urls", URLS),
        ),
        ready_path="/readiness",
        policy="cache_aware, its default: prefix tree, shortest queue when loads differ",
        body=_TREE,
    ),
    Peer(
        name="sglang-router",
        what="SGLang's router, now called model gateway, an HTTP proxy in Rust",
        requirement="sglang-router==0.3.2",
        command="sglang-router",
        arguments=(
            *("launch", "--host", "127.0.0.1", "--port", "{port}"),
            *("--prometheus-host", "127.0.0.1", "--prometheus-port", "{metrics_port}"),
            *("--policy", "cache_aware", "--log-level", "warn"),
            *("--worker-startup-check-interval", "1", "--worker-urls", URLS),
        ),
        ready_path="/readiness",
        policy="cache_aware, its default: prefix tree, shortest queue when loads differ",
        body=_TREE,
    ),
    Peer(
        name="smg",
        what="Shepherd Model Gateway, SGLang's gateway carried on apart, an HTTP proxy in Rust",
        requirement="smg==1.13.0",
        command="smg",
        arguments=(
            *("launch", "--host", "127.0.0.1", "--port", "{port}"),
            *("--prometheus-host", "127.0.0.1", "--prometheus-port", "{metrics_port}"),
            *("--policy", "cache_aware", "--log-level", "warn"),
            *("--worker-startup-check-interval", "1", "--worker-urls", URLS),
        ),
        ready_path="/readiness",
        policy="cache_aware, its default: prefix tree, shortest queue when loads differ",
        body=_TREE,
    ),
    Peer(
        name="litellm",
        what="LiteLLM's proxy, a gateway to many providers in Python",
        # Newer ones ask for a certifi that not every index has yet.
        requirement="litellm[proxy]==1.105.2",
        command="litellm",
        arguments=(
            *("--host", "127.0.0.1", "--port", "{port}", "--num_workers", "1"),
            *("--config", "{config_path}", "--telemetry", "False"),
        ),
        ready_path="/health/readiness",
        policy="least-busy: its default, simple-shuffle, looks at no load",
        body="reads the whole JSON, writes it anew, and converts the answer",
        config=_litellm_config,
        environment={
            # Nobody is to be asked for a key, as with the others.
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
            # Prices of models would be downloaded.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            "HF_HUB_OFFLINE": "1",
        },
    ),
    Peer(
        name="production-stack",
        what="the router of vLLM's production stack, an HTTP proxy in Python",
        requirement=None,
        missing="no index has it: the name vllm-router is that of the router in Rust",
        command="vllm-router",
        arguments=(
            *("--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning"),
            *("--service-discovery", "static", "--static-backends", "{url_list}"),
            *("--static-models", "{model_list}", "--routing-logic", "roundrobin"),
        ),
        ready_path="/health",
        policy="roundrobin, its chart's default",
        body="reads the whole JSON",
    ),
)

NOT_MEASURED = {
    "llm-d's endpoint picker, AIBrix, Envoy AI Gateway": "in Go, published as container images",
    "vLLM Semantic Router": "its package on the index starts containers",
    "NVIDIA Dynamo's frontend": "routes to workers of its own runtime, not to HTTP servers",
}
"""Rivals that cannot be put before the same upstreams from an index of Python packages."""
