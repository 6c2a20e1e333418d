"""A ring gives each record once, in order and whole, or says that some are lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.workers.records import (
    Complete,
    Ended,
    Entered,
    Gone,
    Held,
    Moved,
    Picture,
    decode,
    encode,
)
from router.workers.ring import RecordSizeError, RingReader, RingWriter

payloads = st.binary(min_size=1, max_size=50)
steps = st.lists(
    st.one_of(
        payloads.map(lambda data: ("append", data)),
        st.just(("take", None)),
        st.tuples(st.just("spoil"), st.tuples(st.integers(0, 255), st.integers(1, 255))),
    ),
    max_size=60,
)
numbers = st.integers(min_value=0, max_value=2**63 - 1)
seconds = st.floats(allow_nan=False, allow_infinity=False)
hashes = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5).map(tuple)
records = st.one_of(
    st.builds(
        Entered,
        st.text(),
        st.text(),
        seconds,
        seconds,
        seconds,
        st.integers(0, 2**40),
        session=st.none() | st.text(),
        block_hashes=hashes,
    ),
    st.builds(Moved, numbers, st.text(), st.lists(st.text(), max_size=3).map(tuple), seconds),
    st.builds(Ended, numbers, seconds),
    st.builds(Held, numbers, st.text(), st.text(), seconds, seconds, seconds),
    st.sampled_from([Gone(), Picture(), Complete()]),
)


def ring(capacity_bytes=256):
    memory, heads = memoryview(bytearray(capacity_bytes)), memoryview(bytearray(8)).cast("Q")
    return memory, RingWriter(memory, heads, 0), RingReader(memory, heads, 0)


@given(steps=steps)
def test_what_is_read_was_written_at_that_place_and_losses_are_told(steps):
    memory, writer, reader = ring()
    written, read, spoiled = {}, [], False
    for kind, what in steps:
        if kind == "append":
            written[writer.append(what)] = what
        elif kind == "spoil":
            memory[what[0]] ^= what[1]
            spoiled = True
        else:
            taken = reader.take()
            assert all(written[position] == data for position, data in taken.records)
            read += taken.records
            if not spoiled and not taken.lapped:
                assert not taken.torn
                assert not reader.behind()
            if taken.lapped or taken.torn:
                assert not reader.behind()
    assert [position for position, _ in read] == sorted({position for position, _ in read})


@given(batches=st.lists(st.lists(st.binary(min_size=1, max_size=24), max_size=4), max_size=30))
def test_a_reader_that_keeps_up_misses_nothing(batches):
    _, writer, reader = ring()
    for batch in batches:
        expected = [(writer.append(data), data) for data in batch]
        taken = reader.take()
        assert taken == (expected, False, False)


@given(junk=st.binary(min_size=256, max_size=256), head=st.integers(0, 2**64 - 1))
def test_memory_full_of_anything_neither_stops_a_reader_nor_is_taken_for_records(junk, head):
    heads = memoryview(bytearray(8)).cast("Q")
    reader = RingReader(memoryview(bytearray(junk)), heads, 0)
    heads[0] = head
    for _ in range(4):
        assert reader.take().records == []
    assert not reader.behind()


def test_a_torn_record_is_given_up_after_a_few_looks_and_those_that_follow_are_read():
    memory, writer, reader = ring()
    start = writer.append(b"one")
    memory[start + 8] ^= 1
    assert [reader.take().torn for _ in range(3)] == [False, False, True]
    at = writer.append(b"two")
    assert reader.take().records == [(at, b"two")]


def test_a_record_that_becomes_visible_late_is_read_then():
    memory, writer, reader = ring()
    start = writer.append(b"one")
    memory[start + 8] ^= 1
    assert reader.take().records == []
    memory[start + 8] ^= 1
    assert reader.take().records == [(start, b"one")]


def test_a_reader_that_was_overtaken_knows_it():
    _, writer, reader = ring()
    for _ in range(20):
        writer.append(b"x" * 40)
    assert reader.take() == ([], True, False)
    assert not reader.behind()


def test_records_that_are_empty_or_too_long_are_refused_before_anything_is_written():
    _, writer, reader = ring()
    for payload in (b"", b"x" * 121):
        with pytest.raises(RecordSizeError, match=f"{len(payload)} bytes"):
            writer.append(payload)
    assert not reader.behind()


@given(record=records)
def test_records_come_back_as_they_were(record):
    assert decode(encode(record)) == record


@given(data=st.binary(max_size=60))
def test_any_bytes_are_a_record_or_none(data):
    record = decode(data)
    assert record is None or decode(encode(record)) == record


@given(record=records, cut=st.integers(0, 200))
def test_a_record_cut_short_is_none(record, cut):
    data = encode(record)
    if cut < len(data):
        assert decode(data[:cut]) is None
