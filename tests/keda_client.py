"""The external scaler asked as KEDA asks it."""

import contextlib

import grpc

from capper.external_scaler import messages
from capper.external_scaler.server import ExternalScaler
from telemetry.system_clock import SystemClock


class Keda:
    """KEDA's calls for the ScaledObjects of one namespace."""

    def __init__(self, channel, namespace):
        self._channel = channel
        self._namespace = namespace

    def _ref(self, name):
        return messages.ScaledObjectRef(name=name, namespace=self._namespace)

    async def allowed(self, name="llm-scaler"):
        call = self._channel.unary_unary(
            "/externalscaler.ExternalScaler/GetMetrics",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=messages.GetMetricsResponse.FromString,
        )
        asked = messages.GetMetricsRequest(scaledObjectRef=self._ref(name), metricName="cap")
        (value,) = (await call(asked, timeout=5)).metricValues
        return value.metricValue

    async def told(self, name="llm-scaler"):
        """What is allowed; None when the call is refused."""
        try:
            return await self.allowed(name)
        except grpc.aio.AioRpcError:
            return None

    async def refused(self, name="llm-scaler"):
        try:
            await self.allowed(name)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return None

    def watch(self, name="llm-scaler"):
        call = self._channel.unary_stream(
            "/externalscaler.ExternalScaler/StreamIsActive",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=messages.IsActiveResponse.FromString,
        )
        return call(self._ref(name))


async def ended(stream):
    """What a stream ends with, after all that it still has to say."""
    with contextlib.suppress(grpc.aio.AioRpcError):
        while await stream.read() is not grpc.aio.EOF:
            pass
    return await stream.code()


@contextlib.asynccontextmanager
async def asked(holder, namespace):
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((ExternalScaler(holder, SystemClock()).handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Keda(channel, namespace)
    await server.stop(grace=None)
