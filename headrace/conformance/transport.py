"""Connections to the picker: plain, or through a relay that speaks TLS.

gRPC for Python cannot accept a certificate that nothing vouches for, and pickers serve such ones by
default: self-signed, made at the start, often without a name in it. So gRPC speaks plain to a
socket of our own, and the relay behind it speaks TLS to the picker.
"""

import asyncio
import os
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc

from headrace.config_errors import BadInputError

_READ_BYTES = 65_536
_READY = grpc.ChannelConnectivity.READY
_FAILED = grpc.ChannelConnectivity.TRANSIENT_FAILURE
_ALPN = "h2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the picker is and how it is spoken to.

    Attributes:
        host: Name or address.
        port: Its port.
        tls: The TLS context, or None to speak plain.
        authority: The name that is asked for, also in TLS; the host's unless given.
        timeout_seconds: Limit on connecting.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None
    authority: str
    timeout_seconds: float

    @property
    def text(self) -> str:
        """HOST:PORT."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def tls_context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """TLS as a gateway speaks it: a picker's certificate is checked only against a CA given.

    Raises:
        BadInputError: When a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols([_ALPN])
    try:
        if ca is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise BadInputError(
            f"--ca {ca}: is no readable PEM certificate: {_cause(error)}."
        ) from error
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise BadInputError(
                f"--cert {certificate}, --key {key}: are no readable PEM certificate and its key: "
                f"{_cause(error)}."
            ) from error
    return context


@asynccontextmanager
async def connected(target: Target) -> AsyncIterator[grpc.aio.Channel]:
    """A channel that has reached a gRPC server.

    Raises:
        BadInputError: When there is none, with the cause in one sentence.
    """
    await _probe(target)
    if target.tls is None:
        async with _channel(target.text, target) as channel:
            await _reach(channel, target)
            yield channel
        return
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        path = Path(folder) / "relay"
        relay = _Relay(target)
        server = await asyncio.start_unix_server(relay.serve, path)
        try:
            async with _channel(f"unix:{path}", target) as channel:
                await _reach(channel, target)
                yield channel
        finally:
            server.close()
            await relay.close()


def _channel(address: str, target: Target) -> grpc.aio.Channel:
    options = [
        ("grpc.default_authority", target.authority),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    return grpc.aio.insecure_channel(address, options=options)


async def _probe(target: Target) -> None:
    """Connect once by hand, which tells the cause when it fails."""
    try:
        async with asyncio.timeout(target.timeout_seconds):
            _, writer = await _open(target)
    except TimeoutError:
        raise BadInputError(
            f"{target.text}: no connection within {target.timeout_seconds:g} s."
        ) from None
    except ssl.SSLCertVerificationError as error:
        raise BadInputError(
            f"{target.text}: its certificate is refused: {error.verify_message.rstrip('.')}. "
            "Give its CA as --ca and its name as --authority, or no --ca to accept any."
        ) from error
    except (ssl.SSLError, ConnectionResetError) as error:
        raise BadInputError(
            f"{target.text}: no TLS there: {_cause(error)}; use --insecure for a picker without."
        ) from error
    except OSError as error:
        raise BadInputError(f"{target.text}: cannot be connected to: {_cause(error)}.") from error
    await _closed(writer)


async def _reach(channel: grpc.aio.Channel, target: Target) -> None:
    """Wait until the server has spoken HTTP/2."""
    try:
        async with asyncio.timeout(target.timeout_seconds):
            state = channel.get_state(try_to_connect=True)
            while state not in {_READY, _FAILED}:
                await channel.wait_for_state_change(state)
                state = channel.get_state(try_to_connect=True)
    except TimeoutError:
        state = _FAILED
    if state is _READY:
        return
    if target.tls is None:
        raise BadInputError(f"{target.text}: no gRPC server answers there without TLS.")
    raise BadInputError(
        f"{target.text}: TLS is spoken but no gRPC server answers; it may want --cert and --key, "
        "or others."
    )


async def _open(target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if target.tls is None:
        return await asyncio.open_connection(target.host, target.port)
    name = target.authority.rpartition(":")[0] or target.authority
    return await asyncio.open_connection(
        target.host, target.port, ssl=target.tls, server_hostname=name.strip("[]")
    )


class _Relay:
    """Passes bytes between gRPC and the picker's TLS port."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            far_reader, far_writer = await _open(self._target)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pass(reader, far_writer))
                    group.create_task(self._pass(far_reader, writer))
            finally:
                await _closed(far_writer)
        except (OSError, asyncio.CancelledError):
            pass  # gRPC sees its side of the relay closed
        finally:
            await _closed(writer)
            self._tasks.discard(task)

    async def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_READ_BYTES):
                writer.write(data)
                await writer.drain()
        writer.close()


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()


def _cause(error: BaseException) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    if isinstance(error, OSError) and error.errno:
        # asyncio words a refused connection in its own way; look-ups have negative numbers.
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    return str(error) or type(error).__name__
