"""The price of power: the first rung, a proportional controller with few steps."""

import math

from capper.decide.state import DomainState
from capper.decide.tuning import Prices, Thresholds


def next_price(
    ratio: float | None,
    memory: DomainState,
    thresholds: Thresholds,
    prices: Prices,
    *,
    now_seconds: float,
) -> float:
    """The multiplier on joules: 1 below the way out of Watch, the highest at the cap.

    Up at once, down one step at a time. Stateless but for that, so the same watts give the same
    price; the router answers by moving load, which moves the watts: that closes the loop.

    Args:
        ratio: Worst of watts and temperature over their limits; None while blind: held.
        memory: Price in force.
        thresholds: Where it begins and ends.
        prices: Range and steps.
        now_seconds: Epoch time.
    """
    held = memory.price_ratio
    if ratio is None:
        return held
    span = max(thresholds.shed_ratio - thresholds.watch_leave_ratio, 1e-6)
    place = min(1.0, max(0.0, (ratio - thresholds.watch_leave_ratio) / span))
    step = (prices.max_ratio - 1.0) / prices.steps
    wanted = min(prices.max_ratio, 1.0 + step * math.ceil(place * prices.steps - 1e-9))
    if wanted >= held:
        return wanted
    since = memory.price_seconds
    if since is not None and now_seconds - since < prices.fall_seconds:
        return held
    return max(wanted, held - step)
