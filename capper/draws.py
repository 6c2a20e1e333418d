"""Draws that a restart repeats. Pure."""

import zlib

from capper.decide.policy import Policy
from capper.decide.state import State


def draws_of(policy: Policy, state: State) -> dict[str, float]:
    """One stable draw in [0, 1) for each change of each target."""
    draws = {}
    for target in policy.targets:
        memory = state.targets.get(target.ref)
        seed = f"{target.ref} {None if memory is None else memory.written_seconds}"
        draws[target.ref] = zlib.crc32(seed.encode()) / 2**32
    return draws
