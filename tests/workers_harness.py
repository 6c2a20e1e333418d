"""Workers of one process that share a board as those of several do."""

from builders import chat, make_fleet
from hypothesis import strategies as st

from router.decide.picker import Picker
from router.decide.request_facts import RequestHints
from router.decide.settings import DecideSettings
from router.workers.board import LEAST_RING_BYTES, Board
from router.workers.joining import join
from router.workers.records import Ended, Moved, encode

FLEET = make_fleet({"A100": 2, "H100": 2, "B200": 1}, models=("llama", "qwen"))
ADDRESSES = [replica.address for replica in FLEET.replicas()]

requests = st.builds(
    lambda model, size, session, first, blocks: chat(
        model, prompt_bytes=size, hints=RequestHints(session=session)
    )._replace(prefix_block_hashes=tuple(range(first, first + blocks)), prefix_block_ratio=0.1),
    st.sampled_from(["llama", "qwen"]),
    st.integers(0, 50_000),
    st.sampled_from([None, "a", "b"]),
    st.sampled_from([1, 100]),
    st.integers(0, 8),
)

# A worker that lost its place needs a few looks, a question, and a tick of the writer.
ROUNDS_UNTIL_CALM = 8


class Workers:
    """Pickers with their mirrors, and one that only looks on."""

    def __init__(self, count, *, policy="dispatch"):
        self.board = Board.create(count, LEAST_RING_BYTES)
        self.settings = DecideSettings(policy=policy)
        self.pickers = [Picker(FLEET, self.settings) for _ in range(count)]
        self.mirrors = [join(self.board, i, picker) for i, picker in enumerate(self.pickers)]
        self.watcher = Picker(FLEET, self.settings)
        self.watching = join(self.board, None, self.watcher)

    @property
    def everyone(self):
        return [*self.pickers, self.watcher]

    def restart(self, index):
        """As after a kill -9: the parent retires the worker, and another takes its place."""
        self.board.retire(index)
        self.pickers[index] = Picker(FLEET, self.settings)
        self.mirrors[index] = join(self.board, index, self.pickers[index])

    def tick(self, *, now_seconds):
        for mirror in (*self.mirrors, self.watching):
            mirror.tick(now_seconds=now_seconds)

    def calm_down(self, *, now_seconds):
        for _ in range(ROUNDS_UNTIL_CALM):
            self.tick(now_seconds=now_seconds)

    def flood(self, index):
        """Write so much that who has not read up to here is overtaken."""
        writer = self.board.writer(index)
        filler = encode(Moved(2**62, "nobody", ("x" * 100_000,), 0.0))
        for _ in range(LEAST_RING_BYTES // len(filler) + 1):
            writer.append(filler)

    def tear(self, index, *, back):
        """Spoil a byte near the end of what worker `index` has written."""
        memory, heads, place = self.board.ring(index)
        memory[(heads[place] - back) % len(memory)] ^= 0x5A

    def end_of_nobody(self, index):
        """A record that means nothing, as of a ticket that was lost."""
        self.board.writer(index).append(encode(Ended(2**62, 0.0)))


def running(picker):
    """Requests in flight by address, empty accounts left out."""
    return {address: it.running for address, it in picker.ledger if it.running}
