"""The gRPC service that KEDA calls, for `scalingModifiers.formula: min(demand, cap)`.

The metric is the number of replicas that the cap allows, with target 1 and type AverageValue: the
composite of demand and cap in replicas. A cap never wakes a workload: it is active only while the
workload runs already and may keep at least one replica.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc

from capper.external_scaler import messages
from capper.external_scaler.allowances import Allowance, AllowanceHolder
from capper.proto import codec
from fleet.clock import Clock

DEFAULT_METRIC_NAME = "headrace-cap"
METRIC_NAME_KEY = "metricName"
"""Key of a trigger's metadata with which two triggers of one ScaledObject are told apart."""

_LONGEST_WAIT_SECONDS = 3600.0
_GRACE_SECONDS = 0.05


class ExternalScaler:
    """Answers KEDA from the loop's last allowances."""

    def __init__(self, holder: AllowanceHolder, clock: Clock) -> None:
        """Read `holder`; `clock` tells when what it holds is too old."""
        self._holder = holder
        self._clock = clock

    def handler(self) -> grpc.GenericRpcHandler:
        """The service, for a grpc.aio server."""
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        return grpc.method_handlers_generic_handler(
            messages.SERVICE,
            {
                "IsActive": unary(self._is_active, *codec(messages.ScaledObjectRef)),
                "StreamIsActive": stream(self._stream_is_active, *codec(messages.ScaledObjectRef)),
                "GetMetricSpec": unary(self._get_metric_spec, *codec(messages.ScaledObjectRef)),
                "GetMetrics": unary(self._get_metrics, *codec(messages.GetMetricsRequest)),
            },
        )

    async def _is_active(self, ref: Any, context: grpc.aio.ServicerContext) -> Any:
        return messages.IsActiveResponse(result=_active(await self._allowance(ref, context)))

    async def _stream_is_active(
        self, ref: Any, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[Any]:
        """Say it at once, and again whenever this workload's allowance or band changes.

        Ends as the other calls do when the loop has stopped; KEDA then opens another.
        """
        said: Allowance | None = None
        while True:
            # Taken before looking: what changes while KEDA takes the answer is not missed.
            changed = self._holder.next_change()
            allowance = await self._allowance(ref, context)
            if allowance != said:
                yield messages.IsActiveResponse(result=_active(allowance))
                said = allowance
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._holds_seconds()):
                    await changed.wait()

    async def _get_metric_spec(self, ref: Any, context: grpc.aio.ServicerContext) -> Any:
        await self._allowance(ref, context)
        spec = messages.MetricSpec(metricName=_metric_name(ref), targetSize=1, targetSizeFloat=1.0)
        return messages.GetMetricSpecResponse(metricSpecs=[spec])

    async def _get_metrics(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        allowance = await self._allowance(request.scaledObjectRef, context)
        value = messages.MetricValue(
            metricName=request.metricName or _metric_name(request.scaledObjectRef),
            metricValue=allowance.replicas,
            metricValueFloat=float(allowance.replicas),
        )
        return messages.GetMetricsResponse(metricValues=[value])

    def _holds_seconds(self) -> float:
        """How long what was said may be relied on, and a little more."""
        left = self._holder.current.expires_seconds - self._clock.monotonic_seconds()
        return min(max(left, 0.0), _LONGEST_WAIT_SECONDS) + _GRACE_SECONDS

    async def _allowance(self, ref: Any, context: grpc.aio.ServicerContext) -> Allowance:
        """The workload's allowance, or the end of the call with a sentence.

        KEDA then follows the ScaledObject's own `fallback`: nobody is scaled by an old number.
        """
        board = self._holder.current
        name, key = f"{ref.namespace}/{ref.name}", (ref.namespace, ref.name)
        if self._clock.monotonic_seconds() > board.expires_seconds:
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "The capping loop has published nothing lately."
            )
        if key in board.stale:
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, f"The capping loop has said nothing of {name} lately."
            )
        allowance = board.allowances.get(key)
        if allowance is None:
            await context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"ScaledObject {name} is in no PowerCappingConfig with externalScaler.enabled.",
            )
        assert allowance is not None  # abort raises
        return allowance


def _active(allowance: Allowance) -> bool:
    return allowance.replicas > 0 and allowance.current > 0


def _metric_name(ref: Any) -> str:
    return str(ref.scalerMetadata.get(METRIC_NAME_KEY, "")) or DEFAULT_METRIC_NAME
