"""Where the workers of one router are found. Pure."""

MAX_WORKERS = 64
"""Far above what one machine's cores are good for; each keeps a copy of the fleet."""


def socket_of(path: str, index: int) -> str:
    """The unix socket of one of several workers."""
    return f"{path}.{index}"


def targets(target: str, workers: int) -> tuple[str, ...]:
    """The addresses of all workers, of the one that is written down for a single router.

    Args:
        target: "unix:/path" or "host:port".
        workers: How many; one keeps the address.
    """
    if workers == 1:
        return (target,)
    if target.startswith("unix:"):
        return tuple(socket_of(target, index) for index in range(workers))
    host, _, port = target.rpartition(":")
    if not port.isdecimal():
        return (target,)  # whoever reads it says what is wrong with it
    return tuple(f"{host}:{int(port) + index}" for index in range(workers))
