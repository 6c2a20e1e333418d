"""Child processes that never outlive their parent and are ended by their process id.

A child is started through a tiny launcher that asks the kernel to be killed when the parent dies
(Linux) and then becomes the child by exec, so the process id is the child's own. The launcher is
a fresh interpreter instead of a `preexec_fn`, which may deadlock in a parent with gRPC's threads.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

_LOG_TAIL_LINES = 15
# Some programs repeat their whole configuration in one line when they refuse it.
_LOG_LINE_CHARACTERS = 400
# argv: parent pid, binary, arguments. 1 is PR_SET_PDEATHSIG. The parent is compared because it
# may have died before the call. The group is set here because uvloop cannot. Every stream costs
# two descriptors, hence the raised limit.
_LAUNCHER = """
import os, resource, signal, sys
parent, binary = int(sys.argv[1]), sys.argv[2]
os.setpgid(0, 0)
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent is gone")
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
os.execv(binary, [binary, *sys.argv[3:]])
"""


_POLL_SECONDS = 0.05
_GRACE_SECONDS = 5.0


class ChildStartError(RuntimeError):
    """A child did not come up; the message ends with the tail of its log."""


async def spawn(
    binary: Path,
    arguments: Sequence[str],
    *,
    log_path: Path | None,
    pass_fds: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
) -> asyncio.subprocess.Process:
    """Start a program with its output appended to a file; None: with the output of this process.

    The kernel's death signal follows the *thread* that starts the child: call this in a thread
    that lives as long as the child shall, as the main thread does. The child is the leader of its
    own process group, so that Ctrl-C reaches only the parent, which then ends it in order. It
    inherits the descriptors `pass_fds` under their numbers, and `environment` on top of ours.
    """
    with contextlib.ExitStack() as stack:
        log = None if log_path is None else stack.enter_context(log_path.open("ab"))
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", _LAUNCHER),
            *(str(os.getpid()), str(binary), *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=pass_fds,
            env=None if environment is None else {**os.environ, **environment},
        )


async def spawn_ready(
    what: str,
    binary: Path,
    arguments: Sequence[str],
    *,
    log_path: Path,
    is_ready: Callable[[], Awaitable[bool]],
    ready_seconds: float,
) -> asyncio.subprocess.Process:
    """Start a program and return once `is_ready` says so.

    Args:
        what: The program, for the error.
        binary: See `spawn`.
        arguments: See `spawn`.
        log_path: See `spawn`.
        is_ready: Asked again and again while the child lives.
        ready_seconds: How long that may take.

    Raises:
        ChildStartError: When it ends or is not ready in time. Nothing is left behind.
    """
    process = await spawn(binary, arguments, log_path=log_path)
    try:
        async with asyncio.timeout(ready_seconds):
            while not await is_ready():
                _require_alive(process)
                await asyncio.sleep(_POLL_SECONDS)
    except BaseException as error:
        await end(process, grace_seconds=_GRACE_SECONDS)
        if isinstance(error, TimeoutError | ChildProcessError):
            raise ChildStartError(
                f"{what} did not come up; the end of its log:\n{log_tail(log_path)}"
            ) from error
        raise
    return process


def _require_alive(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        raise ChildProcessError(f"exit status {process.returncode}")


async def end(process: asyncio.subprocess.Process, *, grace_seconds: float) -> None:
    """SIGTERM, then SIGKILL after `grace_seconds`; nothing when it has ended already."""
    if process.returncode is not None:
        return
    send_signal(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(grace_seconds):
            await process.wait()
    except TimeoutError:
        send_signal(process, signal.SIGKILL)
        await process.wait()


def send_signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Signal a child that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def log_tail(path: Path) -> str:
    """The last lines of a child's log, cut to a readable width."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(line[:_LOG_LINE_CHARACTERS] for line in lines[-_LOG_TAIL_LINES:])


def free_port() -> int:
    """For a child that cannot say which port it took for 0: one that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
