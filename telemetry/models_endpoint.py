"""Asks replicas for `/v1/models`."""

import asyncio

import aiohttp

from telemetry.bounded_body import bounded_body
from telemetry.served_models import ModelsError, ServedModels, read_models

_MAX_BODY_BYTES = 1024 * 1024


class ModelsEndpoint:
    """Asks replicas for their models, a bounded number at a time."""

    def __init__(
        self, *, scheme: str = "http", timeout_seconds: float = 2.0, concurrency: int = 32
    ) -> None:
        """Open nothing yet."""
        self._scheme = scheme
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._slots = asyncio.Semaphore(concurrency)
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, address: str) -> ServedModels:
        """What the replica at `address` serves now.

        Raises:
            ModelsError: When it does not say.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        url = f"{self._scheme}://{address}/v1/models"
        async with self._slots:
            try:
                async with self._session.get(url, allow_redirects=False) as answer:
                    status = answer.status
                    # What is cut off there is no list of models any more.
                    body = await bounded_body(answer, max_bytes=_MAX_BODY_BYTES)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                reason = str(error) or type(error).__name__
                raise ModelsError(f"/v1/models of {address} does not answer: {reason}.") from error
        if status != 200:  # noqa: PLR2004 - HTTP's OK
            raise ModelsError(f"/v1/models of {address} answered {status}.")
        return read_models(body)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
