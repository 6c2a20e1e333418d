"""How much of the load is other routers', and so how much of what happens now goes unseen. Pure.

Several routers that follow one rule do the same at the same time. Between two scrapes each sees
its own picks only; that the others have just done as much again is the best guess, and the part
of the scraped requests that are not our own says how much "as much" is.
"""

from collections.abc import Iterable

from router.decide.decayed_sum import DecayedSum
from router.decide.pool import Pool

_WINDOW_SECONDS = 20.0
# Own requests in flight, added up over the window's scrapes, below which nothing is inferred.
_FEWEST_OWN = 20.0
# More routers than anybody runs; bounds what a router with hardly a request of its own infers.
_HIGHEST_RATIO = 16.0


class ForeignLoad:
    """Requests in flight per request of our own, by model."""

    __slots__ = ("_models",)

    def __init__(self) -> None:
        """We alone, until scrapes say otherwise."""
        self._models: dict[str, tuple[DecayedSum, DecayedSum]] = {}

    def observe(self, pools: Iterable[Pool], *, now_seconds: float) -> None:
        """Compare the loads just scraped with the ledger's of the same moments; tell the units."""
        ratios: dict[str, float] = {}
        for pool in pools:
            own, foreign = self._models.setdefault(
                pool.model, (DecayedSum(_WINDOW_SECONDS), DecayedSum(_WINDOW_SECONDS))
            )
            seen = [unit for unit in pool.units if unit.own_running_then is not None]
            own.add_all([it.own_running_then or 0 for it in seen], now_seconds=now_seconds)
            foreign.add_all([it.foreign_running for it in seen], now_seconds=now_seconds)
            ratio = self.ratio(pool.model, now_seconds=now_seconds)
            for unit in pool.units:
                ratios[unit.address] = max(ratio, ratios.get(unit.address, 1.0))
                unit.scale(ratios[unit.address])

    def ratio(self, model: str, *, now_seconds: float) -> float:
        """All requests in flight over our own, from 1 to 16; 1 while our own are too few."""
        sums = self._models.get(model)
        if sums is None:
            return 1.0
        own, foreign = (part.read(now_seconds=now_seconds) for part in sums)
        return min(_HIGHEST_RATIO, 1.0 + foreign / own) if own >= _FEWEST_OWN else 1.0

    def keep_only(self, models: Iterable[str]) -> None:
        """Forget models that are no longer served."""
        self._models = {name: self._models[name] for name in models if name in self._models}
