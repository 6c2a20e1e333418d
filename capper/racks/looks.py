"""What placement says of one configuration, for its status. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from capper.api.room_blocks import RackStatus
from capper.decide.gates import RoomView


@dataclass(frozen=True, slots=True, kw_only=True)
class RackLook:
    """What a configuration's status says of its racks.

    Attributes:
        racks: In the order of `rackConstraints`.
        conditions: Type -> (holds, reason, sentence).
        gated: Pods that wait for a rack.
        matrix: "given", "learned" or "absent".
        cooling_watts: That cooling draws, where a sensor tells.
        room: As it was decided on.
    """

    racks: tuple[RackStatus, ...] = ()
    conditions: Mapping[str, tuple[bool, str, str]] = field(default_factory=dict)
    gated: int = 0
    matrix: str = "absent"
    cooling_watts: float | None = None
    room: RoomView | None = None
