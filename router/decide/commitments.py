"""The committed set of every model, chosen anew about once a second. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from router.decide.commitment import Commitment, CommitmentPolicy, Lot, commit
from router.decide.foreign_load import ForeignLoad
from router.decide.pool import Pool
from router.decide.settings import DecideSettings
from router.decide.shares import take_shares
from router.decide.workload import Workload


class Commitments:
    """Which replicas are to carry each model's load.

    Attributes:
        by_model: The set in force, with its reasons.
    """

    __slots__ = ("_policy", "_rate_window_seconds", "by_model")

    def __init__(self, settings: DecideSettings) -> None:
        """Nothing committed."""
        self.by_model: dict[str, Commitment] = {}
        self._rate_window_seconds = settings.rate_window_seconds
        self._policy = CommitmentPolicy(
            reserve_deviations=settings.reserve_deviations,
            gain_ratio=settings.commit_gain_ratio,
            dwell_seconds=settings.commit_dwell_seconds,
        )

    def of(self, model: str) -> Commitment:
        """The set in force; empty before there is one."""
        return self.by_model.get(model, Commitment())

    def keep_only(self, models: Iterable[str]) -> None:
        """Forget models that are no longer served."""
        self.by_model = {name: self.by_model[name] for name in models if name in self.by_model}

    def follow(self, pool: Pool, commitment: Commitment) -> None:
        """Put a set in force that was chosen elsewhere."""
        present = self.of(pool.model)
        if commitment.addresses == present.addresses:  # one object as long as it is one set
            commitment = replace(commitment, addresses=present.addresses)
        self.by_model[pool.model] = commitment
        pool.committed = commitment.addresses

    def choosing(
        self,
        pools: Mapping[str, Pool],
        workload: Workload,
        others: ForeignLoad,
        *,
        now_seconds: float,
    ) -> Iterator[None]:
        """Choose all sets anew and tell the pools, one with each step.

        Models with the fewest replicas choose first, and what they take of a shared replica is
        not there for the others.
        """
        used: dict[str, float] = {}
        for model in sorted(pools, key=lambda name: (len(pools[name].units), name)):
            pool, load = pools[model], workload.of(model)
            fleet_ratio = others.ratio(model, now_seconds=now_seconds)
            commitment = commit(
                _lots(pool, workload, used, now_seconds),
                self.of(model),
                self._policy,
                requests_per_second=max(
                    fleet_ratio * load.requests_per_second(now_seconds=now_seconds),
                    1.0 / self._rate_window_seconds,
                ),
                swing_ratio=load.swing.sample(now_seconds=now_seconds),
                now_seconds=now_seconds,
            )
            self.by_model[model] = commitment
            pool.committed = commitment.addresses
            take_shares(pool, commitment, used)
            yield


def _lots(
    pool: Pool, workload: Workload, used: Mapping[str, float], now_seconds: float
) -> list[Lot]:
    mix = workload.of(pool.model).mix(now_seconds=now_seconds)
    lots = []
    for group in pool.groups:
        by_share: dict[float, list[str]] = {}
        for address in group.addresses:
            by_share.setdefault(round(used.get(address, 0.0), 6), []).append(address)
        for share in sorted(by_share):
            members = tuple(by_share[share])
            lots.append(
                Lot(
                    members=members,
                    curve=group.curve,
                    price_ratio=group.price_ratio,
                    merit_joules=group.ordering_joules(
                        prompt_tokens=mix.computed_prompt_tokens, output_tokens=mix.output_tokens
                    ),
                    capacity_requests_per_second=group.capacity_requests_per_second,
                    used_ratio=min(share, 1.0),
                )
            )
    return lots
