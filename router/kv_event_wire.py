"""vLLM's KV event batches (vllm/distributed/kv_events.py) from msgpack to values. Pure.

Three forms occur: batch and events as arrays (older), a batch as an array of maps, all as maps
(newer). Fields that are not needed are skipped; events of a kind that is not known are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from router.decide.affinity_events import AllCleared, BlocksRemoved, BlocksStored, KvEvent

_STORED_FIELDS = (
    "block_hashes",
    "parent_block_hash",
    "token_ids",
    "block_size",
    "lora_id",
    "medium",
    "lora_name",
    "extra_keys",
    "group_idx",
    "kv_cache_spec_kind",
)
_REMOVED_FIELDS = ("block_hashes", "medium", "group_idx")
_GPU_MEDIA = (None, "GPU", "gpu")
_FULL_ATTENTION = (None, "full_attention", "full")

_decoder = msgspec.msgpack.Decoder()


class KvEventError(ValueError):
    """A batch that is none; one sentence."""


def decode_batch(payload: bytes) -> tuple[KvEvent, ...]:
    """The events of a batch, in order.

    Raises:
        KvEventError: The payload is not a batch of KV events.
    """
    try:
        batch = _decoder.decode(payload)
        events = batch["events"] if isinstance(batch, Mapping) else batch[1]
        return tuple(event for one in events for event in _event(one))
    except (msgspec.DecodeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise KvEventError(f"The KV event batch cannot be read: {error}.") from error


def _event(one: Any) -> Iterator[KvEvent]:
    """None or one event."""
    kind = one["type"] if isinstance(one, Mapping) else one[0]
    if kind == "AllBlocksCleared":
        yield AllCleared()
    elif kind == "BlockRemoved":
        fields = _fields(one, _REMOVED_FIELDS)
        if _of_gpu(fields):
            yield BlocksRemoved(_names(fields["block_hashes"]))
    elif kind == "BlockStored":
        fields = _fields(one, _STORED_FIELDS)
        if _of_gpu(fields) and fields.get("kv_cache_spec_kind") in _FULL_ATTENTION:
            yield _stored(fields)


def _fields(one: Any, names: Sequence[str]) -> Mapping[str, Any]:
    """By name, whether they came in a map or in an array."""
    return one if isinstance(one, Mapping) else dict(zip(names, one[1:], strict=False))


def _of_gpu(fields: Mapping[str, Any]) -> bool:
    """Whether the blocks are where a prompt can use them at once, and of the first cache group."""
    return fields.get("medium") in _GPU_MEDIA and fields.get("group_idx") in (None, 0)


def _stored(fields: Mapping[str, Any]) -> BlocksStored:
    adapter = fields.get("lora_name")
    if adapter is None and fields.get("lora_id") is not None:
        adapter = str(fields["lora_id"])
    token_ids, block_tokens = fields["token_ids"], fields["block_size"]
    if not isinstance(block_tokens, int) or not all(type(one) is int for one in token_ids):
        raise KvEventError("block_size and token_ids must be integers")
    return BlocksStored(
        names=_names(fields["block_hashes"]),
        parent=fields["parent_block_hash"],
        token_ids=token_ids,
        block_tokens=block_tokens,
        adapter=adapter,
        plain=all(key == adapter for keys in fields.get("extra_keys") or () for key in keys or ()),
    )


def _names(names: Any) -> tuple[int | bytes, ...]:
    if not all(isinstance(name, int | bytes) for name in names):
        raise KvEventError("block_hashes must be integers or bytes")
    return tuple(names)
