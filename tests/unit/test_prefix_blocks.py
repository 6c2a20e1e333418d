"""Blocks of a prompt in text: short ones first, long ones then, and what each stands for."""

import json

import pytest
from builders import make_fleet
from hypothesis import given
from hypothesis import strategies as st

from router.decide.affinity_blocks import (
    BLOCK_BYTES,
    LONG_BLOCK_RATIO,
    SHORT_BLOCKS,
    text_blocks,
    text_lengths,
)
from router.decide.picker import Picker
from router.decide.request_facts import read_request
from router.decide.settings import DecideSettings
from router.extproc.pick_log import PickLog
from router.metering.recorder import Recorder

SHORT_BYTES = SHORT_BLOCKS * BLOCK_BYTES
LONG_BYTES = LONG_BLOCK_RATIO * BLOCK_BYTES
TEXT = bytes(number % 251 for number in range(100_000))


def facts_of(body):
    return read_request("/v1/completions", json.dumps(body).encode())


@pytest.mark.parametrize(
    ("size", "blocks"),
    [
        (SHORT_BYTES, SHORT_BLOCKS),
        (SHORT_BYTES + LONG_BYTES - 1, SHORT_BLOCKS),
        (SHORT_BYTES + LONG_BYTES, SHORT_BLOCKS + 1),
        (SHORT_BYTES + 10 * LONG_BYTES, SHORT_BLOCKS + 10),
    ],
)
def test_blocks_are_long_after_the_short_ones(size, blocks):
    assert len(text_blocks(b"x" * size)) == blocks
    assert text_lengths(blocks) * BLOCK_BYTES <= size


@given(st.integers(0, len(TEXT)), st.integers(0, len(TEXT) - 1))
def test_two_texts_share_exactly_the_blocks_that_end_before_they_differ(size, differs_at):
    one = TEXT[:size]
    other = (
        one[:differs_at] + bytes([one[differs_at] ^ 1]) + one[differs_at + 1 :]
        if (differs_at < size)
        else one
    )
    shared = [a == b for a, b in zip(text_blocks(one), text_blocks(other), strict=True)]
    expected = [
        text_lengths(count) * BLOCK_BYTES <= differs_at or differs_at >= size
        for count in range(1, len(shared) + 1)
    ]
    assert shared == expected


def test_the_parts_of_a_long_prompt_are_told_by_their_length():
    facts = facts_of({"model": "m", "prompt": "x" * (SHORT_BYTES + 4 * LONG_BYTES)})
    text_bytes = facts.prompt_bytes
    assert facts.blocks_grow
    assert facts.prefix_part(0) == 0.0
    assert facts.prefix_part(1) == pytest.approx(BLOCK_BYTES / text_bytes)
    assert facts.prefix_part(SHORT_BLOCKS + 2) == pytest.approx(
        (SHORT_BYTES + 2 * LONG_BYTES) / text_bytes
    )
    mean = facts.prefix_block_ratio * len(facts.prefix_block_hashes)
    assert facts.prefix_part(len(facts.prefix_block_hashes)) == pytest.approx(mean)


def test_blocks_of_token_ids_do_not_grow():
    facts = facts_of({"model": "m", "prompt": list(range(64 * (SHORT_BLOCKS + 10)))})
    assert not facts.blocks_grow
    assert facts.prefix_part(SHORT_BLOCKS + 10) == pytest.approx(1.0)


def test_who_remembers_a_long_request_does_not_keep_its_blocks():
    long, short = (facts_of({"model": "m", "prompt": "x" * size}) for size in (SHORT_BYTES, 600))
    assert long.without_blocks().prefix_block_hashes == ()
    assert long.without_blocks()._replace(prefix_block_hashes=long.prefix_block_hashes) == long
    assert short.without_blocks() is short


def test_neither_the_metering_nor_the_log_keeps_the_blocks_of_a_long_prompt():
    facts = facts_of({"model": "llama", "prompt": "x" * SHORT_BYTES})
    log = PickLog(Picker(make_fleet({"H100": 1}), DecideSettings()))
    recorder = Recorder(policy="dispatch", backend_of=str, epoch_seconds=float)
    pick = log.pick(facts, now_seconds=1.0, draw=0.5)
    recorder.picked(facts, pick, now_seconds=1.0)
    assert recorder.journey(pick.ticket).facts.prefix_block_hashes == ()
    assert log.last(1)[0].facts.prefix_block_hashes == ()


def test_text_that_speaks_of_media_is_text():
    words = 'say "image_url" and "input_audio" ' * 100
    facts = facts_of({"model": "m", "messages": [{"role": "user", "content": words}]})
    assert facts.prompt_bytes > len(words)


def test_a_picture_counts_as_much_whoever_sends_it():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 50_000}}
    parts = [{"type": "text", "text": "what is it?"}, picture]
    messages = [{"role": "system", "content": "short"}, {"role": "user", "content": parts}]
    facts = facts_of({"model": "m", "messages": messages})
    assert facts.prompt_bytes == len("short") + len("what is it?") + 4096
