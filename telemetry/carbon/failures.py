"""The ways in which a carbon provider fails. Pure."""

from enum import StrEnum

_DETAIL_CHARACTERS = 300


class FeedFailure(StrEnum):
    """Why there is no answer that can be used."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    WRONG_ZONE = "wrong_zone"
    QUOTA = "quota"
    STATUS = "status"
    ERROR_BODY = "error_body"
    MALFORMED = "malformed"


class FeedError(Exception):
    """A provider gave nothing that can be used.

    Attributes:
        reason: For metrics and for who handles some of them.
        wait_seconds: The provider's wish before the next request; None: it has none.
    """

    def __init__(
        self, reason: FeedFailure, detail: str, *, wait_seconds: float | None = None
    ) -> None:
        """Keep the beginning of `detail`, one sentence: an error page can be long."""
        super().__init__(detail[:_DETAIL_CHARACTERS])
        self.reason = reason
        self.wait_seconds = wait_seconds


class FeedSettingsError(ValueError):
    """A feed that was declared cannot be made; the message is one sentence."""
