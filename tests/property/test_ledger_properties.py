"""The ledger balances whatever happens in whatever order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from router.decide.ledger import Ledger

ADDRESSES = ["10.0.0.1:1", "10.0.0.2:1"]


class LedgerMachine(RuleBasedStateMachine):
    """Enters and settles at random, against a model that is a plain list of open requests."""

    @initialize()
    def start(self):
        self.ledger = Ledger(keep_seconds=10.0)
        self.now_seconds = 0.0
        self.open = []
        self.closed = []
        self.past = [(0.0, dict.fromkeys(ADDRESSES, 0))]

    def _remember(self):
        counts = {a: sum(t.address == a for t in self.open) for a in ADDRESSES}
        self.past.append((self.now_seconds, counts))

    @rule(seconds=st.floats(min_value=0.001, max_value=3.0))
    def wait(self, seconds):
        self.now_seconds += seconds

    @rule(address=st.sampled_from(ADDRESSES), tokens=st.floats(min_value=0, max_value=1e5))
    def enter(self, address, tokens):
        self.open.append(
            self.ledger.enter(
                address, resident_tokens=tokens, prefill_seconds=0.1, now_seconds=self.now_seconds
            )
        )
        self._remember()

    @rule(index=st.integers(min_value=0, max_value=100))
    def settle(self, index):
        if self.open:
            ticket = self.open.pop(index % len(self.open))
            assert self.ledger.settle(ticket, now_seconds=self.now_seconds)
            self.closed.append(ticket)
            self._remember()

    @rule(index=st.integers(min_value=0, max_value=100))
    def settle_again(self, index):
        if self.closed:
            ticket = self.closed[index % len(self.closed)]
            assert not self.ledger.settle(ticket, now_seconds=self.now_seconds)

    @invariant()
    def accounts_are_the_sums_of_the_open_requests(self):
        if not hasattr(self, "ledger"):
            return
        assert self.ledger.running() == len(self.open)
        for address in ADDRESSES:
            account = self.ledger.account(address)
            mine = [ticket for ticket in self.open if ticket.address == address]
            assert account.running == len(mine)
            assert account.resident_tokens == pytest.approx(
                sum(ticket.resident_tokens for ticket in mine), abs=1e-3
            )
            if not mine:
                assert account.resident_tokens == 0.0

    @invariant()
    def the_recent_past_is_remembered(self):
        if not hasattr(self, "ledger"):
            return
        for address in ADDRESSES:
            at_seconds = self.now_seconds - 5.0
            known = [counts[address] for when, counts in self.past if when <= at_seconds]
            if known:
                assert self.ledger.account(address).at(at_seconds)[0] == known[-1]


TestLedger = LedgerMachine.TestCase


@given(st.lists(st.floats(min_value=0, max_value=1e6), max_size=50))
def test_a_settled_ledger_is_empty(tokens):
    ledger = Ledger()
    tickets = [
        ledger.enter("a:1", resident_tokens=t, prefill_seconds=1.0, now_seconds=0.0) for t in tokens
    ]

    for ticket in tickets:
        ledger.settle(ticket, now_seconds=1.0)

    account = ledger.account("a:1")
    assert (account.running, account.resident_tokens) == (0, 0.0)
    assert account.prefill_free_seconds <= max(1.0, 0.0)


def test_only_empty_accounts_of_gone_replicas_are_closed():
    ledger = Ledger()
    ticket = ledger.enter("gone:1", resident_tokens=1, prefill_seconds=0, now_seconds=0)

    ledger.keep_only(frozenset({"kept:1"}))
    still_there = dict(ledger)
    ledger.settle(ticket, now_seconds=1)
    ledger.keep_only(frozenset({"kept:1"}))

    assert set(still_there) == {"gone:1"}
    assert dict(ledger) == {}
