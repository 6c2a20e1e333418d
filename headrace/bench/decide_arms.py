"""What requests look like in `headrace bench decide`: each arm asks a pick for something else."""

import random
from collections.abc import Callable, Iterator

from router.decide.request_facts import NO_HINTS, Api, RequestFacts, RequestHints

MODEL = "llama"
ADAPTERS = tuple(f"adapter-{number}" for number in range(8))
"""Models that are LoRA adapters; every replica can load them."""

_MEAN_PROMPT_BYTES = 4000
_BLOCK_BYTES = 256
_SYSTEM_BLOCKS = 16
_TURN_BLOCKS = 4
_MOST_TURNS = 12
_SUBSET = 3

Requests = Iterator[RequestFacts]
Arm = Callable[[random.Random, list[str], int], Requests]
"""Makes requests without end from (draws, the replicas' addresses, requests in flight)."""


def plain(draws: random.Random, _addresses: list[str], _in_flight: int) -> Requests:
    """Prompts of which nothing is known to be cached."""
    while True:
        yield _facts(16 + int(draws.expovariate(1 / _MEAN_PROMPT_BYTES)))


def system_prompt(draws: random.Random, _addresses: list[str], _in_flight: int) -> Requests:
    """Prompts that all begin with the same 4 KB, which every replica comes to have."""
    system = _blocks(draws, _SYSTEM_BLOCKS)
    while True:
        own = 1 + int(draws.expovariate(1 / 8))
        yield _facts(0, (*system, *_blocks(draws, own)))


def sessions(draws: random.Random, _addresses: list[str], in_flight: int) -> Requests:
    """Conversations with a session header that grow by 1 KB per turn, behind a system prompt."""
    system = _blocks(draws, _SYSTEM_BLOCKS)
    open_ones = [(0, system)] * (2 * in_flight)
    count = 0
    while True:
        index = int(draws.random() * len(open_ones))
        number, hashes = open_ones[index]
        if number == 0 or len(hashes) > _SYSTEM_BLOCKS + _MOST_TURNS * _TURN_BLOCKS:
            count += 1
            number, hashes = count, system
        hashes = (*hashes, *_blocks(draws, _TURN_BLOCKS))
        open_ones[index] = (number, hashes)
        yield _facts(0, hashes, RequestHints(session=f"s{number}"))


def adapters(draws: random.Random, _addresses: list[str], _in_flight: int) -> Requests:
    """Every other request is for one of eight LoRA adapters, of which a replica holds six."""
    for facts in plain(draws, [], 0):
        number = int(draws.random() * 2 * len(ADAPTERS))
        yield facts._replace(model=ADAPTERS[number]) if number < len(ADAPTERS) else facts


def subset(draws: random.Random, addresses: list[str], _in_flight: int) -> Requests:
    """Each request is limited to three replicas drawn for it."""
    for facts in plain(draws, [], 0):
        hints = RequestHints(subset=frozenset(draws.sample(addresses, _SUBSET)))
        yield facts._replace(hints=hints)


def no_guard(draws: random.Random, _addresses: list[str], _in_flight: int) -> Requests:
    """Every other request asks for a TTFT that no replica keeps: the least late is looked for."""
    hints = RequestHints(ttft_seconds=1e-6)
    for number, facts in enumerate(plain(draws, [], 0)):
        yield facts._replace(hints=hints) if number % 2 else facts


ARMS: dict[str, Arm] = {
    "plain": plain,
    "system-prompt": system_prompt,
    "sessions": sessions,
    "distrusted": system_prompt,
    "adapters": adapters,
    "subset": subset,
    "no-guard": no_guard,
}
"""By name; in "distrusted" the engines find in their caches half of what is predicted."""


def _facts(
    prompt_bytes: int, hashes: tuple[int, ...] = (), hints: RequestHints = NO_HINTS
) -> RequestFacts:
    return RequestFacts(
        model=MODEL,
        api=Api.CHAT,
        prompt_bytes=prompt_bytes or _BLOCK_BYTES * len(hashes) + _BLOCK_BYTES // 2,
        hints=hints,
        prefix_block_hashes=hashes,
        prefix_block_ratio=1.0 / (len(hashes) + 0.5) if hashes else 0.0,
    )


def _blocks(draws: random.Random, count: int) -> tuple[int, ...]:
    """Hashes of blocks that occur nowhere else."""
    return tuple(draws.getrandbits(62) for _ in range(count))
