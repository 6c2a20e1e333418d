"""Whole messages over a socket pair, with a bound on what may wait for a reader that is slow."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Self

_LENGTH_BYTES = 4
_BEHIND_BYTES = 8 * 2**20  # some twenty snapshots of a thousand replicas


class Channel:
    """One end. Messages are bytes (headrace.workers.messages)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take over the streams."""
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> Self:
        """Take over one end of a pair."""
        return cls(*await asyncio.open_connection(sock=end))

    @property
    def behind(self) -> bool:
        """Whether the other end has left so much unread that it should be spared what it can."""
        return self._writer.transport.get_write_buffer_size() > _BEHIND_BYTES

    def send(self, message: bytes) -> None:
        """Send, or drop the message when the other end is gone."""
        if not self._writer.is_closing():
            self._writer.write(len(message).to_bytes(_LENGTH_BYTES, "little") + message)

    async def messages(self) -> AsyncIterator[bytes]:
        """Every message until the other end closes."""
        while True:
            try:
                length = await self._reader.readexactly(_LENGTH_BYTES)
                message = await self._reader.readexactly(int.from_bytes(length, "little"))
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            yield message

    async def aclose(self) -> None:
        """Send what is held, then close."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
