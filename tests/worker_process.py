"""A router worker without a server: does what its standard input says, one word list per line.

pick N | settle N | look | tick          answers with one line of JSON each
"""

import json
import sys
import time

from builders import chat
from workers_harness import FLEET, running

from router.decide.picker import Picker
from router.decide.settings import DecideSettings
from router.workers.board import Board
from router.workers.joining import join


def main():
    """Join as the worker of this number, and obey."""
    board = Board.open(int(sys.argv[1]))
    picker = Picker(FLEET, DecideSettings())
    mirror = join(board, int(sys.argv[2]), picker)
    picks = []
    facts = chat()._replace(
        prefix_block_hashes=(hash("first block"), hash("second block")), prefix_block_ratio=0.2
    )
    for line in sys.stdin:
        word, *rest = line.split()
        now_seconds = time.monotonic()
        if word == "pick":
            picks += [
                picker.pick(facts, now_seconds=now_seconds, draw=0.5) for _ in range(int(rest[0]))
            ]
        elif word == "settle":
            for _ in range(int(rest[0])):
                picker.settle(picks.pop().ticket, now_seconds=now_seconds)
        mirror.tick(now_seconds=now_seconds)
        answer = {
            "running": running(picker),
            "foreign": mirror.open,
            "laps": mirror.laps_total,
            "torn": mirror.torn_total,
            "resyncing": mirror.resyncing,
            "hash_keys_differ": mirror.hash_keys_differ,
            "cached_blocks": len(picker.affinity.prefixes),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
