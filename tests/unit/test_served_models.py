"""What `/v1/models` and the engine's LoRA metric say."""

import json

import pytest

from fleet.adapters import LoadedAdapters
from telemetry.exposition import FamilyReader
from telemetry.served_models import (
    ADAPTERS_FAMILY,
    ModelsError,
    ServedModels,
    read_adapters,
    read_models,
)


def listing(*cards):
    return json.dumps({"object": "list", "data": list(cards)}).encode()


def test_cards_with_a_parent_are_adapters():
    body = listing(
        {"id": "llama", "root": "meta-llama/Llama-3.1-8B", "parent": None, "max_model_len": 4096},
        {"id": "llama-alias", "root": "meta-llama/Llama-3.1-8B"},
        {"id": "sql", "root": "/adapters/sql", "parent": "llama"},
        {"id": "chat", "parent": "llama"},
    )
    served = read_models(body)
    assert served == ServedModels(
        base=("llama", "llama-alias"), adapters=("chat", "sql"), root="meta-llama/Llama-3.1-8B"
    )
    assert served.names() == ("llama", "llama-alias", "chat", "sql")


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b'{"data": [1]}', listing(), b"\xff"])
def test_anything_else_is_an_error_with_a_sentence(body):
    with pytest.raises(ModelsError, match=r"^/v1/models (is not a list of models|lists no model)"):
        read_models(body)


def adapters_of(metrics):
    return read_adapters(
        FamilyReader([ADAPTERS_FAMILY.encode()]).read(metrics).samples, observed_seconds=7.0
    )


def test_the_newest_series_of_the_adapter_metric_holds():
    name = ADAPTERS_FAMILY
    metrics = (
        f'{name}{{max_lora="4",running_lora_adapters="",waiting_lora_adapters="old"}} 100.0\n'
        f'{name}{{max_lora="4",running_lora_adapters="sql, chat",waiting_lora_adapters="sql,x"}} '
        "200.0\n"
    )
    assert adapters_of(metrics.encode()) == LoadedAdapters(
        frozenset({"sql", "chat"}), frozenset({"x"}), 4, 7.0
    )
    assert adapters_of(b"vllm:num_requests_running 1\n") is None
    bare = adapters_of(f"{name}{{}} 1.0\n".encode())
    assert bare == LoadedAdapters(frozenset(), frozenset(), None, 7.0)
