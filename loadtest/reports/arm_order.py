"""The order in which arms are shown, the same everywhere. Pure."""

from loadtest.simulator.arms import ARMS
from loadtest.simulator.controllers import CONTROLLERS

# No multiple of the number of colours or markers, so that a policy's loops look different.
_STRIDE = 5


def arm_order(name: str) -> int:
    """A number for an arm: plain policies first; anything that is no arm comes last."""
    policy, _, control = name.partition("+")
    if policy not in ARMS:
        return len(ARMS) * (1 + _STRIDE * len(CONTROLLERS))
    number = list(ARMS).index(policy)
    if control not in CONTROLLERS:
        return number
    return number + len(ARMS) + _STRIDE * (1 + list(CONTROLLERS).index(control))
