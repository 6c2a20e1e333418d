"""What capper and agent say to each other: package `headrace.clocks.v1`. Pure.

A clock or limit of 0 is one that is not asked for, or not there.
"""

from capper.proto import message_classes

PACKAGE = "headrace.clocks.v1"
SERVICE = f"{PACKAGE}.ClockAgent"

_CLASSES = message_classes(
    PACKAGE,
    {
        # Boards of `owner` ("namespace/pod", or a replica's address), or those that are named.
        # Owners of one `workload` may share a board.
        "Claim": (
            (1, "owner", "string"),
            (2, "gpu_uuids", "*string"),
            (3, "max_clock_hertz", "double"),
            (4, "limit_watts", "double"),
            (5, "workload", "string"),
        ),
        # All that the holder wants on this node: what it held before and leaves out is let go.
        "HoldRequest": (
            (1, "holder", "string"),
            (2, "claims", "*Claim"),
            (3, "lease_seconds", "double"),
            (4, "on_lease_expiry", "string"),
            (5, "safe_limit_watts", "double"),
        ),
        "HeldBoard": (
            (1, "owner", "string"),
            (2, "gpu_uuid", "string"),
            (3, "outcome", "string"),
            (4, "sentence", "string"),
            (5, "max_clock_hertz", "double"),
            (6, "goal_clock_hertz", "double"),
            (7, "limit_watts", "double"),
        ),
        "HoldReply": ((1, "node", "string"), (2, "boards", "*HeldBoard")),
        "ReleaseRequest": ((1, "holder", "string"),),
        "ReleaseReply": ((1, "node", "string"), (2, "gpu_uuids", "*string")),
        "BoardsRequest": (),
        "Board": (
            (1, "gpu_uuid", "string"),
            (2, "name", "string"),
            (3, "owners", "*string"),
            (4, "holders", "*string"),
            (5, "mig", "bool"),
            (6, "min_clock_hertz", "double"),
            (7, "max_clock_hertz", "double"),
            (8, "min_limit_watts", "double"),
            (9, "limit_watts", "double"),
            (10, "sm_clock_hertz", "double"),
            (11, "watts", "double"),
            (12, "joules", "double"),
        ),
        "BoardsReply": ((1, "node", "string"), (2, "boards", "*Board")),
    },
)

Claim = _CLASSES["Claim"]
HoldRequest = _CLASSES["HoldRequest"]
HeldBoard = _CLASSES["HeldBoard"]
HoldReply = _CLASSES["HoldReply"]
ReleaseRequest = _CLASSES["ReleaseRequest"]
ReleaseReply = _CLASSES["ReleaseReply"]
BoardsRequest = _CLASSES["BoardsRequest"]
Board = _CLASSES["Board"]
BoardsReply = _CLASSES["BoardsReply"]
