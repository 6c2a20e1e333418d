"""Sessions, adapters, trust and cached prefixes, as a picker decides on them."""

import pytest
from builders import chat, make_fleet, make_snapshot

from fleet.adapters import LoadedAdapters
from fleet.price import PriceBoard
from fleet.signals import SignalKind
from router.decide.affinity_adapters import Adapters
from router.decide.affinity_blocks import BLOCK_BYTES, text_blocks, token_blocks
from router.decide.affinity_sessions import SessionVerdict
from router.decide.affinity_trust import Trust
from router.decide.picker import Picker
from router.decide.request_facts import RequestHints, read_request
from router.decide.settings import DecideSettings

PROMPT_BYTES = 40_000
HASHES = tuple(range(1, PROMPT_BYTES // BLOCK_BYTES + 1))


def long_chat(*, hashes=HASHES, session=None, **options):
    facts = chat(
        prompt_bytes=PROMPT_BYTES,
        output_tokens=50,
        hints=RequestHints(session=session, **options),
    )
    return facts._replace(prefix_block_hashes=hashes, prefix_block_ratio=BLOCK_BYTES / PROMPT_BYTES)


class Stage:
    """A picker over some H100s that are told of second by second."""

    def __init__(self, *, replicas=3, models=("llama",), **settings):
        self.fleet = make_fleet({"H100": replicas}, models=models)
        self.picker = Picker(self.fleet, DecideSettings(**settings))
        self.now_seconds = 0.0
        self.observe()
        self.carry(*self.addresses)

    @property
    def addresses(self):
        return [unit.address for unit in self.picker.units()]

    def carry(self, *addresses):
        """These are committed from now on."""
        for pool in self.picker._roster.pools.values():
            pool.committed = frozenset(addresses)

    def observe(self, readings=None, *, adapters=None, restarts=None):
        self.now_seconds += 1.0
        snapshot = make_snapshot(self.fleet, readings, at_seconds=self.now_seconds)
        loaded = {
            address: LoadedAdapters(frozenset(names), frozenset(), slots, self.now_seconds)
            for address, (names, slots) in (adapters or {}).items()
        }
        for name, value in (("adapters", loaded), ("restarts", restarts or {})):
            object.__setattr__(snapshot, name, value)
        self.picker.observe(snapshot, PriceBoard(), now_seconds=self.now_seconds)

    def pick(self, facts):
        pick = self.picker.pick(facts, now_seconds=self.now_seconds, draw=0.5)
        self.picker.settle(pick.ticket, now_seconds=self.now_seconds)
        return pick


def only(address):
    return frozenset({address})


def test_a_prompt_goes_back_to_where_it_was_and_is_predicted_to_take_fewer_joules():
    stage = Stage()
    last = stage.addresses[-1]
    first = stage.pick(long_chat(subset=only(last)))
    assert (first.address, first.cached_tokens) == (last, 0.0)
    second = stage.pick(long_chat())
    other = stage.pick(long_chat(hashes=tuple(-one for one in HASHES)))
    assert second.address == last
    assert second.cached_tokens > 0.9 * PROMPT_BYTES / 4.2
    assert second.dynamic_joules < 0.5 * first.dynamic_joules
    assert other.address != last
    assert other.cached_tokens == 0.0


def test_without_affinity_nothing_is_remembered():
    stage = Stage(affinity=False)
    stage.pick(long_chat(session="s", subset=only(stage.addresses[-1])))
    again = stage.pick(long_chat(session="s"))
    assert again.address != stage.addresses[-1]
    assert (len(stage.picker.affinity.prefixes), len(stage.picker.affinity.sessions)) == (0, 0)


def test_a_restart_or_an_unhealthy_reading_forgets_what_the_replica_had():
    stage = Stage()
    last = stage.addresses[-1]
    for event in (
        {"restarts": {last: 1}},
        {"readings": {last: {SignalKind.HEALTHY_RATIO: 0.0}}, "restarts": {last: 1}},
    ):
        stage.pick(long_chat(subset=only(last)))
        assert stage.pick(long_chat()).address == last
        stage.observe(**event)
        assert len(stage.picker.affinity.prefixes) == 0
    stage.observe(restarts={last: 1})
    assert stage.pick(long_chat()).cached_tokens == 0.0


def test_models_share_no_prefix():
    stage = Stage(models=("llama", "adapter"))
    last = stage.addresses[-1]
    stage.pick(long_chat(subset=only(last)))
    assert stage.pick(long_chat()._replace(model="adapter")).cached_tokens == 0.0


def test_a_session_stays_while_the_guard_passes():
    stage = Stage()
    last = stage.addresses[-1]
    new = stage.pick(long_chat(hashes=(), session="s", subset=only(last)))
    kept = stage.pick(long_chat(hashes=(), session="s"))
    assert (new.session, kept.session) == (SessionVerdict.NEW, SessionVerdict.KEPT)
    assert kept.address == last
    assert kept.cached_tokens > 0.9 * PROMPT_BYTES / 4.2
    assert stage.pick(long_chat(hashes=())).session is None


def test_a_session_breaks_with_its_reason():
    stage = Stage()
    last = stage.addresses[-1]
    facts = long_chat(hashes=(), session="s")
    stage.pick(long_chat(hashes=(), session="s", subset=only(last)))
    stage.observe({last: {SignalKind.RUNNING_REQUESTS: 5000.0}})
    late = stage.pick(facts)
    assert (late.session, late.address == last) == (SessionVerdict.BROKEN_GUARD, False)
    stage.pick(long_chat(hashes=(), session="s", subset=only(last)))
    stage.observe({last: {SignalKind.HEALTHY_RATIO: 0.0}})
    assert stage.pick(facts).session is SessionVerdict.BROKEN_GONE


def test_a_session_leaves_a_replica_that_is_to_be_emptied_unless_its_cache_pays():
    stage = Stage()
    first, last = stage.addresses[0], stage.addresses[-1]
    small = chat(output_tokens=400, hints=RequestHints(session="s", subset=only(last)))
    stage.pick(small)
    stage.carry(first)
    stage.observe({first: {SignalKind.RUNNING_REQUESTS: 4.0}})
    moved = stage.pick(small._replace(hints=RequestHints(session="s")))
    assert (moved.session, moved.address) == (SessionVerdict.BROKEN_DEARER, first)
    stage.pick(long_chat(hashes=(), session="t", subset=only(last))._replace(max_output_tokens=1))
    kept = stage.pick(long_chat(hashes=(), session="t")._replace(max_output_tokens=1))
    assert (kept.session, kept.address) == (SessionVerdict.KEPT, last)


def test_sessions_are_bounded_and_forgotten():
    stage = Stage(affinity_sessions=3, session_idle_seconds=5.0)
    for number in range(10):
        stage.pick(long_chat(hashes=(), session=f"s{number}"))
    assert len(stage.picker.affinity.sessions) == 3
    assert stage.pick(long_chat(hashes=(), session="s0")).session is SessionVerdict.NEW
    stage.now_seconds += 6.0
    assert stage.pick(long_chat(hashes=(), session="s9")).session is SessionVerdict.NEW


def test_an_adapter_is_asked_for_where_it_is_loaded():
    stage = Stage(models=("llama", "adapter"))
    last = stage.addresses[-1]
    stage.observe(adapters={last: ({"adapter"}, 2), stage.addresses[0]: ({"other"}, 2)})
    asked = chat("adapter", output_tokens=20)
    assert stage.pick(asked).address == last
    assert stage.pick(chat("llama", output_tokens=20)).address != last
    # The engine is idle and names no adapter any more; it has it still.
    stage.observe(adapters={last: (set(), 2)})
    assert stage.pick(asked).address == last
    stage.observe({last: {SignalKind.RUNNING_REQUESTS: 5000.0}})
    assert stage.pick(asked).address != last


def test_slots_that_are_all_held_make_a_load_wait():
    adapters = Adapters()
    adapters.keep_only(frozenset({"a", "b"}), ("x", "y", "z", "base"))
    adapters.observe(
        {
            "a": LoadedAdapters(frozenset({"x", "y"}), frozenset(), 2, 1.0),
            "b": LoadedAdapters(frozenset({"x"}), frozenset({"z"}), 3, 1.0),
        },
        ("x", "y", "z", "base"),
    )

    def waits(address, model):
        return adapters.load_seconds(address, model, load_seconds=0.5, wait_seconds=4.0)

    assert [waits("a", name) for name in ("x", "z", "base")] == [0.0, 4.5, 0.0]
    assert [waits("b", name) for name in ("x", "z", "y")] == [0.0, 0.0, 0.5]


def test_few_hits_shrink_predictions_and_many_do_not():
    liar, honest, silent = Trust(), Trust(), Trust()
    for second in range(60):
        for trust, hits in ((liar, 0.0), (honest, 900.0 * second)):
            trust.predict(prompt_tokens=1000.0, cached_tokens=900.0, now_seconds=float(second))
            trust.count(looked_up_total=1000.0 * second, hit_total=hits, now_seconds=float(second))
        silent.predict(prompt_tokens=1000.0, cached_tokens=900.0, now_seconds=float(second))
    assert liar.ratio(now_seconds=60.0) < 0.25
    assert honest.ratio(now_seconds=60.0) == pytest.approx(1.0, abs=0.02)
    assert silent.ratio(now_seconds=60.0) == 1.0


def test_an_engine_without_prefix_caching_is_found_out():
    stage = Stage(replicas=1)
    [address] = stage.addresses
    for second in range(40):
        stage.observe(
            {
                address: {
                    SignalKind.PROMPT_TOKENS_TOTAL: 10_000.0 * second,
                    SignalKind.PREFIX_QUERY_TOKENS_TOTAL: 0.0,
                    SignalKind.PREFIX_HIT_TOKENS_TOTAL: 0.0,
                }
            }
        )
        stage.pick(long_chat())
    assert stage.picker.affinity.trust_ratio(address, now_seconds=stage.now_seconds) < 0.1
    assert stage.pick(long_chat()).cached_tokens < 0.1 * PROMPT_BYTES / 4.2


def test_a_longer_conversation_begins_with_the_blocks_of_the_shorter():
    turn = '{"role":"user","content":"%s"}'
    first = ('{"model":"m","messages":[' + turn % ("a" * 900) + "]}").encode()
    longer = first[:-2] + b',{"role":"assistant","content":"yes"}]}'
    salted = first[:-1] + b',"cache_salt":"x"}'
    tools = first[:-1] + b',"tools":[{"type":"function"}]}'
    blocks = [
        read_request("/v1/chat/completions", body).prefix_block_hashes
        for body in (first, longer, salted, tools)
    ]
    assert len(blocks[0]) == 3
    assert blocks[1][:3] == blocks[0]
    assert not set(blocks[0]) & set(blocks[2] + blocks[3])


def test_blocks_are_as_many_as_are_full_and_bounded():
    assert [len(text_blocks(b"x" * size)) for size in (0, 255, 256, 10_000_000)] == [0, 0, 1, 568]
    assert [len(token_blocks(range(size))) for size in (0, 63, 64, 1000)] == [0, 0, 1, 15]
    body = b'{"model":"m","prompt":[' + b",".join(b"%d" % one for one in range(128)) + b"]}"
    facts = read_request("/v1/completions", body)
    assert facts.prefix_block_hashes == token_blocks(range(128))
    assert facts.prefix_block_ratio == 0.5
    odd = read_request("/v1/completions", b'{"model":"m","prompt":[1, "two"]}')
    assert odd.prefix_block_hashes == ()
