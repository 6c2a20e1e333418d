"""Where engines publish their KV events. Apart, so that files are read without the extra."""

from dataclasses import dataclass, field


class KvEventsUnavailableError(RuntimeError):
    """KV events are asked for and the extra is not installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvEventSettings:
    """Where engines publish.

    Attributes:
        port: Of the events, on each replica's host.
        replay_port: Of the replay, or None: engines offer none.
        topic: Only events whose topic begins so are listened to; empty takes all.
        replay_timeout_seconds: How long a replay may be silent.
        named: Replica address -> (events, replay) of those that publish elsewhere, as ZeroMQ
            endpoints.
    """

    port: int = 5557
    replay_port: int | None = None
    topic: str = ""
    replay_timeout_seconds: float = 2.0
    named: dict[str, tuple[str, str | None]] = field(default_factory=dict)

    def endpoints(self, address: str) -> tuple[str, str | None]:
        """Events and replay of the replica at "ip:port"."""
        if address in self.named:
            return self.named[address]
        host = address.rpartition(":")[0]
        replay = None if self.replay_port is None else f"tcp://{host}:{self.replay_port}"
        return f"tcp://{host}:{self.port}", replay
