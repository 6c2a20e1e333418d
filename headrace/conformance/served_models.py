"""Finding a model to ask for when none is named: some pickers answer /v1/models themselves."""

import json

import grpc

from headrace.conformance.lab import Lab, Settings
from headrace.conformance.verdicts import CaseFailedError
from headrace.conformance.wire import BodyMode, HttpRequest

_OK = 200


async def first_served_model(
    channel: grpc.aio.Channel, mode: BodyMode, settings: Settings
) -> str | None:
    """The first model that the picker lists, or None when it leaves that to its replicas."""
    lab = Lab(channel=channel, health_channel=channel, settings=settings, mode=mode)
    try:
        half = await lab.asked(HttpRequest(method="GET", path="/v1/models"))
    except CaseFailedError:
        return None
    if half.immediate is None or half.immediate.status.code != _OK:
        return None
    try:
        name = json.loads(half.immediate.body)["data"][0]["id"]
    except (ValueError, LookupError, TypeError):
        return None
    return name if isinstance(name, str) else None
