"""Router workers in processes of their own, over real shared memory."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from workers_harness import FLEET, ROUNDS_UNTIL_CALM, running

from router.decide.picker import Picker
from router.decide.settings import DecideSettings
from router.workers.board import Board, BoardError
from router.workers.joining import hash_seed, join

TESTS = Path(__file__).parents[1]
EACH = 400


class Worker:
    """One process of tests/worker_process.py."""

    def __init__(self, board, index, *, seed):
        self._process = subprocess.Popen(
            [sys.executable, TESTS / "worker_process.py", str(board.fd), str(index)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(board.fd,),
            cwd=TESTS,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
        )

    def send(self, order):
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()

    def answer(self):
        return json.loads(self._process.stdout.readline())

    def ask(self, order):
        self.send(order)
        return self.answer()

    def kill(self):
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


@pytest.fixture
def board():
    board = Board.create(2)
    yield board
    board.close()


@pytest.fixture
def start(board):
    with contextlib.ExitStack() as stack:

        def start(index, *, seed):
            worker = Worker(board, index, seed=seed)
            stack.callback(worker.kill)
            return worker

        yield start


def total(answer):
    return sum(answer["running"].values())


def test_each_knows_what_the_other_does_and_a_killed_one_leaves_nothing(board, start):
    seed = hash_seed()
    watcher = Picker(FLEET, DecideSettings())
    watching = join(board, None, watcher)
    one, two = start(0, seed=seed), start(1, seed=seed)
    for worker in (one, two):
        worker.ask("tick")
    for worker in (one, two):  # both write at once
        worker.send(f"pick {EACH}")
    for worker in (one, two):
        worker.answer()
    first, second = one.ask("tick"), two.ask("tick")
    watching.tick(now_seconds=0.0)
    assert first["running"] == second["running"] == running(watcher)
    assert total(first) == 2 * EACH
    assert first["foreign"] == second["foreign"] == EACH
    assert first["cached_blocks"] == second["cached_blocks"] > 0
    assert not first["hash_keys_differ"]
    assert first["torn"] == second["torn"] == first["laps"] == second["laps"] == 0

    one.kill()
    board.retire(0)
    alone = two.ask("settle 100")
    assert total(alone) == EACH - 100
    assert alone["foreign"] == 0
    watching.tick(now_seconds=0.0)
    assert running(watcher) == alone["running"]

    again = start(0, seed=seed)
    again.ask("tick")  # asks
    two.ask("tick")  # lists what is open, as the parent does
    watching.tick(now_seconds=0.0)
    joined = again.ask("pick 7")
    assert joined["foreign"] == EACH - 100
    assert joined["resyncing"] == 0
    assert two.ask("tick")["running"] == joined["running"]


def test_one_that_is_killed_while_it_writes_leaves_nothing_half_written(board, start):
    seed = hash_seed()
    one, two = start(0, seed=seed), start(1, seed=seed)
    one.ask("tick")
    one.send("pick 100000")
    while not two.ask("tick")["foreign"]:
        pass
    one.kill()
    assert two.ask("tick")["foreign"] > 0
    board.retire(0)
    for _ in range(ROUNDS_UNTIL_CALM):  # it may have been overtaken just then
        after = two.ask("tick")
    assert (after["foreign"], after["running"]) == (0, {})
    again = start(0, seed=seed)
    again.ask("pick 3")
    assert two.ask("tick")["foreign"] == 3


def test_prefixes_under_another_hash_key_are_not_believed(start):
    one, two = start(0, seed="1"), start(1, seed="2")
    one.ask("tick")
    two.ask("tick")
    one.ask("pick 3")
    answer = two.ask("tick")
    assert answer["hash_keys_differ"]
    assert answer["cached_blocks"] == 0
    assert total(answer) == 3


def test_what_is_no_board_is_refused_in_one_sentence(tmp_path):
    for content in (b"", b"short", b"x" * 4096):
        path = tmp_path / "file"
        path.write_bytes(content)
        with path.open("r+b") as file, pytest.raises(BoardError, match="file descriptor"):
            Board.open(file.fileno())


@pytest.mark.parametrize(("workers", "ring_bytes"), [(0, 1 << 20), (2, 1024), (2, (1 << 20) + 4)])
def test_a_board_of_impossible_size_is_refused(workers, ring_bytes):
    with pytest.raises(ValueError, match="must be"):
        Board.create(workers, ring_bytes)
