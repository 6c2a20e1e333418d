"""KV events over real ZeroMQ: what engines tell is what the router knows of their caches."""

import asyncio
import contextlib

import msgspec
import pytest
from kv_publisher import KvPublisher, batch, cleared, removed, stored

from router.decide.affinity import Affinity
from router.decide.affinity_blocks import BLOCK_TOKENS, token_blocks
from router.decide.affinity_events import AllCleared, BlocksRemoved, BlocksStored
from router.decide.settings import DecideSettings
from router.kv_event_settings import KvEventSettings
from router.kv_event_wire import KvEventError, decode_batch
from router.kv_events import KvEventListener

ADDRESS = "127.0.0.1:8000"
IDS = list(range(3 * BLOCK_TOKENS))
ASKED = token_blocks(IDS)
FIRST, SECOND, THIRD = (
    IDS[start : start + BLOCK_TOKENS] for start in range(0, len(IDS), BLOCK_TOKENS)
)


class Ear:
    """A listener and its index."""

    def __init__(self, publisher, *, replay=True):
        self.affinity = Affinity(DecideSettings())
        self.affinity.keep_only(frozenset({ADDRESS}), ())
        settings = KvEventSettings(
            port=publisher.port,
            replay_port=publisher.replay_port if replay else None,
            replay_timeout_seconds=5.0,
        )
        self.listener = KvEventListener(self.affinity, settings)

    def matching(self, *, learned=0):
        return self.affinity.events.matching_blocks(ADDRESS, "m", ASKED, learned=learned)

    async def heard(self, batches):
        for _ in range(1000):
            if self.listener.counts.batches >= batches:
                return
            await asyncio.sleep(0.01)
        pytest.fail(f"heard {self.listener.counts} of {batches} batches")


@contextlib.asynccontextmanager
async def listening(publisher, **options):
    ear = Ear(publisher, **options)
    ear.listener.follow([ADDRESS])
    try:
        await publisher.subscribed()
        yield ear
    finally:
        await ear.listener.aclose()


@pytest.mark.parametrize("form", ["array", "map"])
async def test_blocks_are_known_from_when_they_are_stored_until_they_are_removed(form):
    async with KvPublisher() as engine, listening(engine) as ear:
        assert ear.matching(learned=3) == 3  # nothing was heard: the learned index stands
        await engine.publish(stored([b"1", b"2"], None, FIRST + SECOND, form=form), form=form)
        await ear.heard(1)
        assert ear.matching(learned=3) == 2
        await engine.publish(stored([b"3"], b"2", THIRD, form=form), form=form)
        await ear.heard(2)
        assert ear.matching() == 3
        await engine.publish(removed([b"3"], form=form), form=form)
        await ear.heard(3)
        assert ear.matching(learned=3) == 2
        await engine.publish(cleared(form=form), form=form)
        await ear.heard(4)
        assert ear.matching(learned=3) == 0


@pytest.mark.parametrize(("block_size", "names", "known"), [(16, 12, 3), (32, 6, 3), (192, 1, 3)])
async def test_any_block_size_that_is_a_multiple_of_16_is_followed(block_size, names, known):
    async with KvPublisher() as engine, listening(engine) as ear:
        await engine.publish(stored(list(range(names)), None, IDS, block_size=block_size))
        await ear.heard(1)
        assert ear.matching(learned=9) == known
        await engine.publish(removed([names - 1]))
        await ear.heard(2)
        assert ear.matching(learned=9) < known


async def test_other_block_sizes_leave_the_learned_index_in_force():
    async with KvPublisher() as engine, listening(engine) as ear:
        await engine.publish(stored(list(range(8)), None, IDS, block_size=24))
        await ear.heard(1)
        assert ear.matching(learned=2) == 2


@pytest.mark.parametrize("replays_topic", [False, True])
async def test_what_was_missed_is_asked_for_again(replays_topic):
    async with KvPublisher(replays_topic=replays_topic) as engine:
        await engine.publish(stored([1], None, FIRST), is_lost=True)
        await engine.publish(stored([2], 1, SECOND), is_lost=True)
        async with listening(engine) as ear:
            await engine.publish(stored([3], 2, THIRD))
            await ear.heard(3)
            assert (ear.matching(), ear.listener.counts.replayed) == (3, 2)
            await engine.publish(removed([3]), is_lost=True)
            await engine.publish(removed([2]))
            await ear.heard(5)
            assert (ear.matching(learned=3), ear.listener.counts.gaps) == (1, 0)


async def test_what_is_missed_for_good_leaves_the_learned_index_in_force():
    async with KvPublisher(keep=1) as engine:
        await engine.publish(stored([1], None, FIRST), is_lost=True)
        async with listening(engine, replay=False) as ear:
            await engine.publish(stored([2], 1, SECOND))
            await ear.heard(1)
            assert (ear.matching(learned=2), ear.listener.counts.gaps) == (2, 1)
            await engine.publish(cleared())
            await ear.heard(2)
            assert ear.matching(learned=2) == 0


async def test_an_engine_that_begins_anew_has_nothing():
    async with KvPublisher() as engine, listening(engine) as ear:
        await engine.publish(stored([1, 2], None, FIRST + SECOND))
        await engine.publish(stored([3], 2, THIRD))
        await ear.heard(2)
        engine.number, engine.past = 0, []
        await engine.publish(stored([1], None, FIRST))
        await ear.heard(3)
        assert ear.matching(learned=3) == 1


async def test_a_publisher_that_goes_away_takes_its_knowledge_along():
    async with KvPublisher() as engine:
        port = engine.port
        context = listening(engine)
        ear = await context.__aenter__()
        await engine.publish(stored([1, 2], None, FIRST + SECOND))
        await ear.heard(1)
        assert ear.matching(learned=3) == 2
    for _ in range(1000):
        if ear.matching(learned=3) == 3:
            break
        await asyncio.sleep(0.01)
    assert ear.matching(learned=3) == 3
    async with KvPublisher(port=port) as again:
        await again.subscribed()
        await again.publish(stored([7], None, FIRST))
        await ear.heard(2)
        assert ear.matching(learned=3) == 1
        await context.__aexit__(None, None, None)


async def test_malformed_batches_are_counted_and_do_not_end_the_stream():
    async with KvPublisher() as engine, listening(engine) as ear:
        await engine.publish(b"\xc1 not msgpack")
        await engine.live.send_multipart([b"kv", b"short"])
        await engine.publish(stored([1], None, FIRST))
        await ear.heard(1)
        assert ear.listener.counts.malformed == 2
        assert ear.matching(learned=2) == 2  # what the first one said is not known


async def test_replicas_that_are_gone_are_not_listened_to():
    async with KvPublisher() as engine, listening(engine) as ear:
        await engine.publish(stored([1], None, FIRST))
        await ear.heard(1)
        ear.listener.follow([])
        await asyncio.sleep(0.05)
        assert ear.matching(learned=3) == 3


@pytest.mark.parametrize("form", ["array", "map"])
def test_blocks_that_a_prompt_of_ids_cannot_find_are_not_taken_for_its_own(form):
    image = stored([1], None, FIRST, form=form, extra_keys=[["image-1"]])
    adapter = stored([2], None, FIRST, form=form, lora_name="a", extra_keys=[["a"]])
    in_host = stored([3], None, FIRST, form=form, medium="CPU")
    unknown = ["Unheard", 1] if form == "array" else {"type": "Unheard"}
    events = decode_batch(batch(image, adapter, in_host, unknown, removed([4], form=form)))
    assert [type(event) for event in events] == [BlocksStored, BlocksStored, BlocksRemoved]
    assert [(event.plain, event.adapter) for event in events[:2]] == [(False, None), (True, "a")]
    assert decode_batch(batch(cleared(form=form))) == (AllCleared(),)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x01",
        msgspec.msgpack.encode([0.0]),
        batch({"type": "BlockStored"}),
        batch(1),
        batch(stored([1.5], None, FIRST)),
        batch(stored([1], None, ["a"])),
    ],
)
def test_what_is_no_batch_is_one_error(payload):
    with pytest.raises(KvEventError, match=r"^The KV event batch cannot be read: .*\.$"):
        decode_batch(payload)
