"""The process of a worker: `python -m headrace.workers.main CHANNEL BOARD`, started by the parent.

Its arguments are the descriptors of its end of a socket pair and of the shared memory.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import Sequence

import uvloop

from headrace.freed_memory import give_back
from headrace.garbage import spare
from headrace.log_format import configure_logging
from headrace.workers import messages
from headrace.workers.channel import Channel
from headrace.workers.worker import serve
from router.workers.board import Board
from telemetry.system_clock import SystemClock


def main(arguments: Sequence[str]) -> int:
    """Serve until the parent says stop or is gone, or until SIGTERM."""
    channel_fd, board_fd = (int(each) for each in arguments)
    uvloop.run(_serve(channel_fd, board_fd))
    return 0


async def _serve(channel_fd: int, board_fd: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    channel = await Channel.over(socket.socket(fileno=channel_fd))
    async for first in channel.messages():
        setup = messages.decode_down(first)
        assert isinstance(setup, messages.Setup), "the first message is always this"
        configure_logging(setup.log_format, level=setup.log_level, worker=setup.index)
        spare(loop)
        give_back(loop)
        await serve(channel, Board.open(board_fd), setup, SystemClock(), stop)
        return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
