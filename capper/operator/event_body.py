"""The Kubernetes Event that tells something of an object."""

from typing import Any, Literal

from capper.api import GROUP
from capper.kube.api import FIELD_MANAGER
from capper.operator.timestamps import rfc3339

_MESSAGE = 1024


def event_body(
    about: dict[str, str],
    kind: Literal["Normal", "Warning"],
    reason: str,
    message: str,
    *,
    number: int,
    now_seconds: float,
) -> dict[str, Any]:
    """An Event in the namespace of the object it is about.

    Args:
        about: apiVersion, kind, namespace, name and uid.
        kind: Type of the event.
        reason: One word.
        message: For people; what is longer than 1024 characters is cut.
        number: Of this event in this process: the name must be new.
        now_seconds: Epoch time.
    """
    time = rfc3339(now_seconds)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{about['name']}.{int(now_seconds * 1e6):x}.{number}",
            "namespace": about["namespace"],
        },
        "involvedObject": about,
        "type": kind,
        "reason": reason,
        "message": message[:_MESSAGE],
        "source": {"component": FIELD_MANAGER},
        "reportingComponent": f"{GROUP}/{FIELD_MANAGER}",
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
