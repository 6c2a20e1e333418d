"""Rivals in virtual environments of their own, under .cache/peers."""

import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from headrace.bench.peers_catalogue import Peer
from headrace.child_process import log_tail

FOLDER = Path(".cache/peers")
"""In the current folder."""

_INSTALL_SECONDS = 900
_MARKER = "requirement.txt"
_SCRIPTS = "console_scripts"


class PeerInstallError(RuntimeError):
    """pip could not install a rival; the message ends with the tail of its log."""


def command_path(peer: Peer, folder: Path) -> Path:
    """Its console script, there or not."""
    return (folder / peer.name / "bin" / peer.command).absolute()


def why_absent(peer: Peer, folder: Path) -> str | None:
    """Why it cannot be started; None when it is there in the version that is asked for."""
    home = folder / peer.name
    if peer.requirement is None:
        if command_path(peer, folder).exists():
            return None
        return f"{peer.missing}; it is measured where its environment is in {home}"
    marker = home / _MARKER
    if not marker.exists():
        return "not installed; `headrace bench peers --install` does so"
    found = marker.read_text(encoding="utf-8").strip()
    if found != peer.requirement:
        return f"{found} is installed, {peer.requirement} is asked for; --install renews it"
    return None


def installed_version(peer: Peer, folder: Path) -> str | None:
    """Of the distribution in its environment that brings its command; None when none does."""
    sites = [str(it) for it in (folder / peer.name).glob("lib/python*/site-packages")]
    for found in distributions(path=sites):
        if any(it.name == peer.command for it in found.entry_points.select(group=_SCRIPTS)):
            return found.version
    return None


def install_missing(peers: Iterable[Peer], folder: Path, console: Console) -> dict[str, str]:
    """Install those that are not there; why not, by name, of those that could not be."""
    missing = [it for it in peers if it.requirement is not None and why_absent(it, folder)]
    failed: dict[str, str] = {}
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        for peer in missing:
            task = progress.add_task(f"installing {peer.requirement}", total=1)
            try:
                install(peer, folder)
            except PeerInstallError as error:
                failed[peer.name] = str(error)
                progress.update(task, description=f"{peer.requirement} could not be installed")
            else:
                progress.update(task, description=f"{peer.requirement} installed")
            progress.update(task, completed=1)
    return failed


def install(peer: Peer, folder: Path) -> None:
    """Make its environment anew and install the pinned version, through pip as it is set up here.

    Raises:
        PeerInstallError: When that does not work.
    """
    if peer.requirement is None:
        raise PeerInstallError(peer.missing)
    home = folder / peer.name
    marker, log_path = home / _MARKER, home / "install.log"
    try:
        home.mkdir(parents=True, exist_ok=True)
        marker.unlink(missing_ok=True)
    except OSError as error:
        raise PeerInstallError(f"{home}: cannot be written: {error.strerror}.") from error
    python = home / "bin" / "python"
    for argv in (
        [sys.executable, "-m", "venv", "--clear", str(home)],
        [str(python), "-m", "pip", "install", "--disable-pip-version-check", peer.requirement],
    ):
        _run(peer, argv, log_path)
    if not command_path(peer, folder).exists():
        raise PeerInstallError(f"{peer.requirement} brings no command {peer.command}.")
    marker.write_text(f"{peer.requirement}\n", encoding="utf-8")


def _run(peer: Peer, argv: list[str], log_path: Path) -> None:
    output = b""
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments, no shell
            argv,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_INSTALL_SECONDS,
        )
        output, what = done.stdout, "" if done.returncode == 0 else "did not install"
    except subprocess.TimeoutExpired as error:
        output, what = error.stdout or b"", f"was not installed in {_INSTALL_SECONDS} s"
    # Written afterwards: the environment's folder is emptied first.
    with log_path.open("ab") as log:
        log.write(output)
    if what:
        raise PeerInstallError(
            f"{peer.requirement} {what}; the end of its log:\n{log_tail(log_path)}"
        )
