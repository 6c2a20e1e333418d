"""Rules on gRPC health checks."""

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headrace.conformance.case import ANY, CaseList
from headrace.conformance.lab import Lab
from headrace.conformance.verdicts import CaseFailedError, CaseSkippedError, Level, Source
from headrace.conformance.wire import EXT_PROC_SERVICE

CASES = CaseList()
_STATUS = health_pb2.HealthCheckResponse
_NOT_FOUND = "NOT_FOUND"
_UNKNOWN_SERVICE = "no.such.Service"


@CASES.add(
    "health-liveness",
    Level.MUST,
    Source.PICKER,
    "The health service `liveness` MUST be SERVING while the process answers.",
    modes=ANY,
)
async def _liveness(lab: Lab) -> None:
    await _serving(lab, "liveness")


@CASES.add(
    "health-readiness",
    Level.MUST,
    Source.PICKER,
    "The health service `readiness` MUST be SERVING while requests are accepted.",
    modes=ANY,
)
async def _readiness(lab: Lab) -> None:
    await _serving(lab, "readiness")


@CASES.add(
    "health-ext-proc-service",
    Level.MUST,
    Source.PICKER,
    f"The health service `{EXT_PROC_SERVICE}` MUST be SERVING while requests are accepted.",
    modes=ANY,
)
async def _ext_proc(lab: Lab) -> None:
    await _serving(lab, EXT_PROC_SERVICE)


@CASES.add(
    "health-empty-name",
    Level.SHOULD,
    Source.HEALTH,
    "The empty service name, which asks for the server as a whole, SHOULD be SERVING.",
    modes=ANY,
)
async def _empty_name(lab: Lab) -> None:
    await _serving(lab, "")


@CASES.add(
    "health-unknown-service",
    Level.SHOULD,
    Source.HEALTH,
    "An unknown service name SHOULD be answered with NOT_FOUND or SERVICE_UNKNOWN.",
    modes=ANY,
)
async def _unknown(lab: Lab) -> None:
    said = await _check(lab, _UNKNOWN_SERVICE)
    if said not in {_NOT_FOUND, "SERVICE_UNKNOWN"}:
        raise CaseFailedError(f"{_UNKNOWN_SERVICE} is {said}.")


async def _serving(lab: Lab, service: str) -> None:
    said = await _check(lab, service)
    if said != "SERVING":
        raise CaseFailedError(f"'{service}' is {said}.")


async def _check(lab: Lab, service: str) -> str:
    """The status, or the name of the gRPC error that came instead."""
    stub = health_pb2_grpc.HealthStub(lab.health_channel)
    request = health_pb2.HealthCheckRequest(service=service)
    try:
        reply = await stub.Check(request, timeout=lab.settings.timeout_seconds)
    except grpc.aio.AioRpcError as error:
        name = str(error.code().name)
        if name == "UNIMPLEMENTED":
            if lab.health_channel is not lab.channel:
                raise CaseFailedError("There is no gRPC health service on --health-port.") from None
            raise CaseSkippedError(
                "There is no gRPC health service on this port; name its own with --health-port."
            ) from None
        return name
    return str(_STATUS.ServingStatus.Name(reply.status))
