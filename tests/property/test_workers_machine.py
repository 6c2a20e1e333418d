"""Whatever workers do and however they fall behind: in the end all know the same."""

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from workers_harness import ADDRESSES, Workers, requests, running

WORKERS = 3
workers = st.integers(0, WORKERS - 1)


class WorkersMachine(RuleBasedStateMachine):
    """Three workers and a process that looks on."""

    def __init__(self):
        super().__init__()
        self.workers = Workers(WORKERS)
        self.now_seconds = 0.0
        self.open = []

    @rule(worker=workers, facts=requests, draw=st.floats(0, 1, exclude_max=True))
    def pick(self, worker, facts, draw):
        picker = self.workers.pickers[worker]
        self.open.append((worker, picker.pick(facts, now_seconds=self.now_seconds, draw=draw)))

    @rule(data=st.data())
    def settle(self, data):
        if self.open:
            worker, pick = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
            picker = self.workers.pickers[worker]
            assert picker.settle(pick.ticket, now_seconds=self.now_seconds)
            assert not picker.settle(pick.ticket, now_seconds=self.now_seconds)

    @rule(data=st.data(), address=st.sampled_from(ADDRESSES))
    def serve(self, data, address):
        if self.open:
            worker, pick = data.draw(st.sampled_from(self.open))
            self.workers.pickers[worker].serve(pick, address, now_seconds=self.now_seconds)

    @rule(worker=workers)
    def read(self, worker):
        self.workers.mirrors[worker].catch_up(now_seconds=self.now_seconds)

    @rule(worker=workers)
    def tick(self, worker):
        self.workers.mirrors[worker].tick(now_seconds=self.now_seconds)

    @rule()
    def choose(self):
        self.workers.watcher.commit(now_seconds=self.now_seconds)

    @rule(seconds=st.floats(0, 5))
    def wait(self, seconds):
        self.now_seconds += seconds

    @rule(worker=workers)
    def flood(self, worker):
        self.workers.flood(worker)

    @rule(worker=workers, back=st.integers(1, 400))
    def tear(self, worker, back):
        self.workers.tear(worker, back=back)

    @rule(worker=workers)
    def mean_nothing(self, worker):
        self.workers.end_of_nobody(worker)

    @rule(worker=workers)
    def restart(self, worker):
        self.workers.restart(worker)
        self.open = [(owner, pick) for owner, pick in self.open if owner != worker]

    @rule()
    def all_know_the_same(self):
        self.workers.calm_down(now_seconds=self.now_seconds)
        expected = Counter(pick.ticket.address for _, pick in self.open)
        resident_tokens = sum(pick.ticket.resident_tokens for _, pick in self.open)
        for picker in self.workers.everyone:
            assert running(picker) == expected
            assert picker.ledger.running() == len(self.open)
            held = sum(account.resident_tokens for _, account in picker.ledger)
            assert held == pytest.approx(resident_tokens)
        assert self.workers.watching.open == len(self.open)
        for worker, mirror in enumerate(self.workers.mirrors):
            assert mirror.resyncing == 0
            assert mirror.open == sum(owner != worker for owner, _ in self.open)

    @invariant()
    def nothing_is_negative(self):
        for picker in self.workers.everyone:
            for _, account in picker.ledger:
                assert account.running >= 0
                assert account.resident_tokens >= -1e-6

    def teardown(self):
        for worker, pick in self.open:
            self.workers.pickers[worker].settle(pick.ticket, now_seconds=self.now_seconds)
        self.open = []
        self.all_know_the_same()
        for picker in self.workers.everyone:
            assert running(picker) == {}
            assert picker.ledger.entered_total == picker.ledger.settled_total
        self.workers.board.close()


TestWorkers = WorkersMachine.TestCase
TestWorkers.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
