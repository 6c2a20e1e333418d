"""Times as Kubernetes writes them. Pure."""

from datetime import UTC, datetime


def rfc3339(epoch_seconds: float) -> str:
    """Whole seconds, in UTC: 2026-01-31T12:00:00Z."""
    text = datetime.fromtimestamp(int(epoch_seconds), tz=UTC).isoformat()
    return text.replace("+00:00", "Z")


def rfc3339_micro(epoch_seconds: float) -> str:
    """Microseconds, as leases have them: 2026-01-31T12:00:00.000000Z."""
    stamp = datetime.fromtimestamp(epoch_seconds, tz=UTC)
    return stamp.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def epoch_of(text: str) -> float | None:
    """Epoch seconds of either form; None when it is neither."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
