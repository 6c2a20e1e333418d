"""Watts that are set aside for placed pods: read off the pods, and what was sent and not yet seen.

A pod's own annotation is the memory: a capper that starts anew finds every reservation there.
"""

from collections.abc import Iterable, Mapping

from capper.kube.kinds import at
from capper.racks.narrowing import is_gated
from capper.racks.pods import Pod, Reserved, reservation_of

_ECHO_SECONDS = 30.0


class Ledger:
    """All reservations of a process."""

    def __init__(self) -> None:
        """Empty."""
        self._sent: dict[str, tuple[Reserved, float]] = {}
        self._held: dict[str, Reserved] = {}

    def look(
        self,
        pods: Iterable[Pod],
        racks_by_node: Mapping[str, str],
        *,
        now_epoch_seconds: float,
    ) -> None:
        """Take in the pods as they are now.

        What was sent counts until the pod shows it, is gone, or is still gated long after.
        """
        held: dict[str, Reserved] = {}
        gated: dict[str, bool] = {}
        for pod in pods:
            uid = at(pod, ("metadata", "uid"))
            gated[uid] = is_gated(pod)
            found = reservation_of(pod, racks_by_node, now_epoch_seconds=now_epoch_seconds)
            if found is not None:
                held[uid] = found
        self._sent = {
            uid: (one, seconds)
            for uid, (one, seconds) in self._sent.items()
            if gated.get(uid) and now_epoch_seconds - seconds < _ECHO_SECONDS
        }
        self._held = held

    def send(self, reserved: Reserved, *, now_epoch_seconds: float) -> None:
        """Set watts aside before they are written down."""
        self._sent[reserved.key] = (reserved, now_epoch_seconds)

    def refuse(self, key: str) -> None:
        """The write did not happen."""
        self._sent.pop(key, None)

    def was_sent(self, key: str) -> bool:
        """Whether a pod has its rack already, by what was sent."""
        return key in self._sent

    def all(self) -> tuple[Reserved, ...]:
        """Every reservation, each pod once."""
        sent = {uid: one for uid, (one, _) in self._sent.items()}
        return tuple({**sent, **self._held}.values())
