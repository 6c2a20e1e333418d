"""What holds of the affinity indexes and of picks by them, whatever happens."""

from builders import chat, make_fleet, make_snapshot
from hypothesis import given
from hypothesis import strategies as st

from fleet.price import PriceBoard
from fleet.signals import SignalKind
from router.decide.affinity_adapters import AdapterSlots
from router.decide.affinity_blocks import TOKENS_PER_STEP, token_blocks
from router.decide.affinity_events import AllCleared, BlocksRemoved, BlocksStored, EventIndex
from router.decide.affinity_prefix import PrefixIndex
from router.decide.affinity_trust import Trust
from router.decide.picker import Picker
from router.decide.request_facts import RequestHints
from router.decide.settings import DecideSettings

# Prompts as paths in a small tree: equal beginnings are frequent.
paths = st.lists(st.integers(0, 2), min_size=1, max_size=8)


def chained(path):
    return tuple(hash(tuple(path[: end + 1])) for end in range(len(path)))


class ReferenceLru:
    """The slow and obvious one: a list, the most recently used block last."""

    def __init__(self, capacity):
        self.blocks, self.capacity = [], capacity

    def record(self, hashes):
        for block_hash in reversed(hashes[: self.capacity]):
            self.blocks = [one for one in self.blocks if one != block_hash] + [block_hash]
        self.blocks = self.blocks[-self.capacity :]

    def matching_blocks(self, hashes):
        count = 0
        while count < len(hashes) and hashes[count] in self.blocks:
            count += 1
        return count


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.sampled_from("abc"), paths),
            st.tuples(st.just("resize"), st.sampled_from("abc"), st.integers(1, 12)),
            st.tuples(st.just("forget"), st.sampled_from("abc"), st.none()),
        ),
        max_size=80,
    ),
    st.lists(paths, min_size=1, max_size=5),
)
def test_the_index_is_a_least_recently_used_list_per_replica(steps, asked):
    index = PrefixIndex(most_blocks=10_000)
    references = {address: ReferenceLru(12) for address in "abc"}
    index.keep_only(frozenset(references))
    for address in references:
        index.resize(address, 12)
    for what, address, value in steps:
        reference = references[address]
        if what == "send":
            index.record(address, chained(value))
            reference.record(chained(value))
        elif what == "resize":
            index.resize(address, value)
            reference.capacity = value
            reference.blocks = reference.blocks[-value:]
        else:
            index.forget(address)
            reference.blocks = []
        assert len(index) == sum(len(one.blocks) for one in references.values())
    for hashes in map(chained, asked):
        found = {a: one.matching_blocks(hashes) for a, one in references.items()}
        assert {a: index.way(hashes).blocks_at(a) for a in references} == found
        assert index.is_anywhere(hashes) == any(found.values())
        for at in range(len(hashes)):
            holders = sorted(index.way(hashes).holders(at))
            assert holders == sorted(a for a, blocks in found.items() if blocks > at)
    assert bool(index.runs) == bool(len(index))
    index.keep_only(frozenset())
    assert (len(index), index.runs) == (0, 0)


def test_many_short_prompts_take_no_more_room_than_few_long_ones():
    index = PrefixIndex(most_blocks=2600)
    index.keep_only(frozenset("ab"))
    for number in range(5000):
        index.record("ab"[number % 2], chained([number]))
    assert (len(index), index.runs) == (200, 200)
    assert index.way(chained([4999])).blocks_at("b") == 1
    assert index.way(chained([4799])).blocks_at("b") == 0


def test_what_is_sent_again_and_again_takes_no_more_room():
    index = PrefixIndex(most_blocks=1000)
    index.keep_only(frozenset("ab"))
    for turn in range(500):
        index.record("ab"[turn % 2], chained([0, 1, 2][: 1 + turn % 3]))
    assert (len(index), index.runs) == (6, 3)


@given(
    st.integers(1, 40),
    st.lists(st.sampled_from("abcde"), min_size=1, max_size=5, unique=True),
    st.lists(st.tuples(st.sampled_from("abcde"), paths, st.integers(1, 100)), max_size=60),
)
def test_all_replicas_together_stay_within_the_bound(most_blocks, addresses, steps):
    index = PrefixIndex(most_blocks=most_blocks)
    index.keep_only(frozenset(addresses))
    for address, path, capacity in steps:
        if address in addresses:
            index.resize(address, capacity)
            index.record(address, chained(path))
        assert len(index) <= max(most_blocks, len(addresses))
    index.keep_only(frozenset())
    assert len(index) == 0


@st.composite
def stories(draw):
    """Prompts and where they go, with readings in between."""
    requests = st.tuples(
        paths,
        st.sampled_from([None, "s", "t"]),
        st.floats(0.0, 2.0),
        st.booleans(),
    )
    loads = st.lists(st.floats(0.0, 300.0), min_size=6, max_size=6)
    return draw(st.lists(st.tuples(requests, loads), min_size=1, max_size=25))


@given(stories())
def test_no_affinity_breaks_the_guard_and_no_prefix_is_longer_than_its_prompt(story):
    fleet = make_fleet()
    picker = Picker(fleet, DecideSettings(affinity_blocks=60, affinity_sessions=1))
    addresses = [unit.address for unit in picker.units()]
    now_seconds = 0.0
    for (path, session, pause_seconds, is_done), loads in story:
        now_seconds += pause_seconds
        readings = {
            address: {SignalKind.RUNNING_REQUESTS: float(round(load))}
            for address, load in zip(addresses, loads, strict=True)
        }
        snapshot = make_snapshot(fleet, readings, at_seconds=now_seconds)
        picker.observe(snapshot, PriceBoard(), now_seconds=now_seconds)
        picker.commit(now_seconds=now_seconds)
        size = 2000 * len(path)
        facts = chat(prompt_bytes=size, hints=RequestHints(session=session))._replace(
            prefix_block_hashes=chained(path), prefix_block_ratio=1.0 / len(path)
        )
        question = picker.question(facts, now_seconds=now_seconds, draw=0.5)
        assert all(
            0.0 <= near.cached_tokens <= near.believed_tokens < question.demand.prompt_tokens
            for near in (question.demand.at(address) for address in addresses)
        )
        lateness = {unit.address: question.lateness(unit) for unit in question.eligible}
        pick = picker.pick(facts, now_seconds=now_seconds, draw=0.5)
        if min(lateness.values()) <= 1.0:
            assert lateness[pick.address] <= 1.0
        assert len(picker.affinity.prefixes) <= 60
        assert len(picker.affinity.sessions) <= 1
        if is_done:
            picker.settle(pick.ticket, now_seconds=now_seconds)


@given(
    st.lists(
        st.tuples(st.floats(0, 1e6), st.floats(0, 1), st.floats(0, 1e6), st.floats(0, 2)),
        max_size=30,
    )
)
def test_trust_is_a_ratio(steps):
    trust, looked_up, hit = Trust(), 0.0, 0.0
    for second, (prompt, believed_ratio, grown, hit_ratio) in enumerate(steps):
        trust.predict(
            prompt_tokens=prompt, cached_tokens=believed_ratio * prompt, now_seconds=float(second)
        )
        looked_up, hit = looked_up + grown, hit + hit_ratio * grown
        trust.count(looked_up_total=looked_up, hit_total=hit, now_seconds=float(second))
        assert 0.0 <= trust.ratio(now_seconds=float(second)) <= 1.0


@given(st.lists(st.sampled_from("abcdef"), max_size=30))
def test_no_more_adapters_are_believed_loaded_than_fit(names):
    slots = AdapterSlots("a", {})
    slots.slots = 2
    for name in names:
        slots.use(name)
        assert slots.has(name)
        assert len(slots) <= 2


# An engine's cache against what follows it from its events. Blocks of 64 ids: four steps.
BLOCK = 4 * TOKENS_PER_STEP


class Engine:
    """Keeps blocks of token ids by path and says what changes, as vLLM does."""

    def __init__(self, index):
        self.index, self.blocks = index, set()

    def store(self, path):
        for end in range(1, len(path) + 1):
            if tuple(path[:end]) not in self.blocks:
                self.blocks.add(tuple(path[:end]))
                self.index.apply(
                    "a",
                    BlocksStored(
                        names=(repr(path[:end]).encode(),),
                        parent=repr(path[: end - 1]).encode() if end > 1 else None,
                        token_ids=[path[end - 1]] * BLOCK,
                        block_tokens=BLOCK,
                    ),
                )

    def remove(self, path):
        """A leaf, with the leaves below it first."""
        for one in sorted(self.blocks, key=len, reverse=True):
            if one[: len(path)] == tuple(path):
                self.blocks.discard(one)
                self.index.apply("a", BlocksRemoved((repr(list(one)).encode(),)))

    def clear(self, _):
        self.blocks.clear()
        self.index.apply("a", AllCleared())

    def matching(self, path):
        return next(
            (end for end in range(len(path)) if tuple(path[: end + 1]) not in self.blocks),
            len(path),
        )


@given(st.lists(st.tuples(st.sampled_from(["store", "store", "remove", "clear"]), paths)), paths)
def test_an_engine_that_tells_all_is_known_exactly(steps, asked):
    index = EventIndex(most_blocks=10_000)
    index.keep_only(frozenset({"a"}))
    index.begin("a", complete=True)
    engine = Engine(index)
    for name, path in steps:
        getattr(engine, name)(path)
    hashes = token_blocks([one for part in asked for one in [part] * BLOCK])
    assert index.matching_blocks("a", "m", hashes, learned=99) == engine.matching(asked)
    assert len(index) == len(engine.blocks)
