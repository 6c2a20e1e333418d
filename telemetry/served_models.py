"""Which models and LoRA adapters a replica serves, as its engine puts it."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from fleet.adapters import LoadedAdapters
from telemetry.exposition import ExposedSample

ADAPTERS_FAMILY = "vllm:lora_requests_info"
"""The metric whose labels name the adapters at work."""


class ServedModels(NamedTuple):
    """What one replica answers to.

    Attributes:
        base: Names of the model itself; vLLM lists every --served-model-name.
        adapters: Names of the loaded LoRA adapters, sorted.
        root: The weights, as the engine was told ("meta-llama/Llama-3.1-8B-Instruct" or a path).
    """

    base: tuple[str, ...]
    adapters: tuple[str, ...] = ()
    root: str = ""

    def names(self) -> tuple[str, ...]:
        """All of them, base first."""
        return (*self.base, *self.adapters)


class ModelsError(Exception):
    """A replica does not say what it serves; one sentence."""


class _Card(msgspec.Struct):
    id: str
    root: str | None = None
    parent: str | None = None


class _Listing(msgspec.Struct):
    data: list[_Card]


_LISTING = msgspec.json.Decoder(_Listing)


def read_models(body: bytes) -> ServedModels:
    """Read an answer of `/v1/models`: a card with a parent is an adapter.

    Raises:
        ModelsError: When it is not such an answer, or lists nothing.
    """
    try:
        cards = _LISTING.decode(body).data
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ModelsError(f"/v1/models is not a list of models: {error}.") from error
    base = [card for card in cards if not card.parent]
    if not base:
        raise ModelsError("/v1/models lists no model.")
    return ServedModels(
        base=tuple(dict.fromkeys(card.id for card in base)),
        adapters=tuple(sorted({card.id for card in cards if card.parent})),
        root=base[0].root or base[0].id,
    )


def read_adapters(
    samples: Iterable[ExposedSample], *, observed_seconds: float
) -> LoadedAdapters | None:
    """Read the samples of ADAPTERS_FAMILY among `samples`; None when there are none.

    vLLM keeps a series for every combination it has had; the sample's value is the time it was
    set, so the newest holds.
    """
    found = [sample for sample in samples if sample.name == ADAPTERS_FAMILY]
    if not found:
        return None
    labels = max(found, key=lambda sample: sample.value).labels
    limit = labels.get("max_lora", "")
    running = _names(labels.get("running_lora_adapters", ""))
    return LoadedAdapters(
        running=running,
        waiting=_names(labels.get("waiting_lora_adapters", "")) - running,
        max_adapters=int(limit) if limit.isascii() and limit.isdigit() else None,
        observed_seconds=observed_seconds,
    )


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip() for name in text.split(",") if name.strip())
