"""Addresses of the gRPC servers: taken, or refused in one sentence that tells the cause."""

import socket
from pathlib import Path

import grpc


class ListenError(Exception):
    """The server cannot listen where it was told to."""


def listen(
    server: grpc.aio.Server,
    host: str,
    port: int,
    *,
    credentials: grpc.ServerCredentials | None = None,
    shared: bool = False,
) -> int:
    """Listen by TCP; returns the actual port.

    Args:
        server: Not started yet.
        host: Address.
        port: 0 for any free one.
        credentials: None for plain text.
        shared: Whether other processes may listen there too.

    Raises:
        ListenError: When the address is not to be had.
    """
    if not shared:
        # Asked of the kernel before gRPC does, which logs the cause and raises without it.
        bound(host, port).close()
    return bind(server, target_of(host, port), credentials)


def bind(
    server: grpc.aio.Server, target: str, credentials: grpc.ServerCredentials | None = None
) -> int:
    """Listen on a gRPC target; returns the actual port.

    Raises:
        ListenError: When it is not to be had.
    """
    try:
        port: int = (
            server.add_insecure_port(target)
            if credentials is None
            else server.add_secure_port(target, credentials)
        )
    except RuntimeError as error:
        raise ListenError(
            f"ext_proc: cannot listen on {target}: in use, not ours to bind, or not there."
        ) from error
    return port


def bound(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that holds a TCP port without listening, alone or beside others that share it.

    Raises:
        ListenError: With the kernel's cause.
    """
    try:
        [(family, *_, address), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        held = socket.socket(family)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            held.bind(address)
        except OSError:
            held.close()
            raise
    except OSError as error:
        raise ListenError(
            f"ext_proc: cannot listen on {target_of(host, port)}: {error.strerror}."
        ) from error
    return held


def target_of(host: str, port: int) -> str:
    """A TCP address as gRPC writes it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def free_socket_path(path: Path) -> None:
    """Remove what a router that died left behind, and nothing else.

    Raises:
        ListenError: When the path is in use, by a process or by something that is no socket.
    """
    if not path.exists():
        return
    if not path.is_socket():
        raise ListenError(f"ext_proc: {path} exists and is not a socket.")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            raise ListenError(f"ext_proc: cannot tell whether {path} is in use: {error}") from error
    raise ListenError(f"ext_proc: {path} is in use by another process.")
