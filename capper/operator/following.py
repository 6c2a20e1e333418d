"""What a follower tells KEDA: what the leader wrote to the statuses, while that is new enough."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from capper.api.config import PowerCappingConfig
from capper.external_scaler.allowances import Allowance, AllowanceBoard
from capper.operator.served import is_served
from capper.operator.timestamps import epoch_of
from fleet.clock import Clock


class _Seen(NamedTuple):
    """A status.

    Attributes:
        turn: Time of the leader's turn, as it wrote it.
        since_seconds: Our monotonic time from which on its age counts.
    """

    turn: str
    since_seconds: float


class FollowedAllowances:
    """Reads allowances from statuses.

    The age of a status is how long it has stayed the same by our own clock. Of one that we see for
    the first time it is by the time that it bears: only there the leader's clock matters.
    """

    def __init__(self, clock: Clock, *, stale_seconds: float) -> None:
        """Believe what is not older than `stale_seconds`."""
        self._clock = clock
        self._stale_seconds = stale_seconds
        self._seen: dict[str, _Seen] = {}

    def board(
        self, configs: Iterable[PowerCappingConfig], *, expires_seconds: float
    ) -> AllowanceBoard:
        """All allowances; of two configurations on one object the lower.

        Args:
            configs: All that there are, with their statuses.
            expires_seconds: Monotonic time after which this is too old.
        """
        told: dict[tuple[str, str], Allowance] = {}
        stale: set[tuple[str, str]] = set()
        seen: dict[str, _Seen] = {}
        for config in configs:
            if not config.spec.external_scaler.enabled:
                continue
            one = self._look(config)
            seen[config.metadata.uid] = one
            old = self._clock.monotonic_seconds() - one.since_seconds > self._stale_seconds
            for key, allowance in _allowances(config.status):
                if old:
                    stale.add(key)
                else:
                    least = min(told.get(key, allowance), allowance, key=lambda it: it.replicas)
                    told[key] = least
        self._seen = seen
        # An object of which one of its configurations is silent may be capped lower than it seems.
        known = {key: one for key, one in told.items() if key not in stale}
        return AllowanceBoard(
            allowances=known, stale=frozenset(stale), expires_seconds=expires_seconds
        )

    def _look(self, config: PowerCappingConfig) -> _Seen:
        turn = str(config.status.get("lastTurnTime") or "")
        before = self._seen.get(config.metadata.uid)
        if before is not None and before.turn == turn:
            return before
        now_seconds = self._clock.monotonic_seconds()
        if before is not None:
            return _Seen(turn, now_seconds)
        epoch = epoch_of(turn)
        if epoch is None:
            return _Seen(turn, float("-inf"))
        return _Seen(turn, now_seconds - max(0.0, self._clock.epoch_seconds() - epoch))


def _allowances(status: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], Allowance]]:
    for one in status.get("targets") or ():
        ref, replicas = one.get("actuationTarget") or "", one.get("allowedReplicas")
        if is_served(ref) and isinstance(replicas, int):
            _, namespace, name = ref.split("/")
            yield (
                (namespace, name),
                Allowance(
                    replicas=replicas,
                    current=one.get("currentReplicas") or 0,
                    band=str(one.get("band") or ""),
                ),
            )
