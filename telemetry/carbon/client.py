"""HTTP to carbon providers: one GET, within bounds, every failure named, no secret in any text."""

from collections.abc import Collection, Mapping
from types import MappingProxyType

import aiohttp

from telemetry.bounded_body import bounded_body
from telemetry.carbon.calendar_times import wait_seconds
from telemetry.carbon.failures import FeedError, FeedFailure
from telemetry.carbon.json_answer import error_words

_MAX_BODY_BYTES = 4 * 1024 * 1024
_NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})
_REASONS = {
    400: FeedFailure.STATUS,
    401: FeedFailure.UNAUTHORIZED,
    403: FeedFailure.FORBIDDEN,
    404: FeedFailure.WRONG_ZONE,
    429: FeedFailure.QUOTA,
}


class CarbonClient:
    """Asks one provider; redirects are not followed, so a key goes to no other host."""

    def __init__(
        self,
        base_url: str,
        *,
        source: str,
        timeout_seconds: float = 10.0,
        secrets: Collection[str] = (),
    ) -> None:
        """Open nothing yet.

        Args:
            base_url: Root of the API.
            source: Name of the provider in messages.
            timeout_seconds: For one question, body included.
            secrets: Taken out of whatever the provider says.
        """
        self._base_url = base_url.rstrip("/")
        self._source = source
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._secrets = frozenset(secret for secret in secrets if secret)
        self._session: aiohttp.ClientSession | None = None

    async def get(
        self,
        path: str,
        *,
        now_epoch_seconds: float,
        parameters: Mapping[str, str] = _NO_PARAMETERS,
        headers: Mapping[str, str] = _NO_PARAMETERS,
    ) -> bytes:
        """The body of a 200.

        Raises:
            FeedError: There is none.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        try:
            async with self._session.get(
                f"{self._base_url}{path}",
                params=parameters,
                headers=headers,
                allow_redirects=False,
            ) as answer:
                status = answer.status
                body = await bounded_body(answer, max_bytes=_MAX_BODY_BYTES)
                retry_after = answer.headers.get("Retry-After")
        except TimeoutError as error:
            raise FeedError(
                FeedFailure.TIMEOUT,
                f"{self._source} did not answer within {self._timeout.total} s.",
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            cause = self._clean(str(error) or type(error).__name__)
            raise FeedError(
                FeedFailure.UNREACHABLE, f"{self._source} cannot be reached: {cause}."
            ) from error
        if status != 200:  # noqa: PLR2004 - HTTP's OK
            wait = wait_seconds(retry_after, now_epoch_seconds=now_epoch_seconds)
            raise self._refusal(status, body, wait)
        if len(body) > _MAX_BODY_BYTES:
            raise FeedError(
                FeedFailure.MALFORMED,
                f"{self._source}: the answer is longer than {_MAX_BODY_BYTES} bytes.",
            )
        words = error_words(body)
        if words is not None:
            raise FeedError(
                FeedFailure.ERROR_BODY,
                f"{self._source} answered with an error: {self._clean(words)}.",
            )
        return body

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _refusal(self, status: int, body: bytes, wait: float | None) -> FeedError:
        words = error_words(body)
        said = "" if words is None else f": {self._clean(words)}"
        reason = _REASONS.get(status, FeedFailure.STATUS)
        return FeedError(reason, f"{self._source} answered {status}{said}.", wait_seconds=wait)

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text
