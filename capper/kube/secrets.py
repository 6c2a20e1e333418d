"""Keys out of a cluster's Secrets, kept for half a minute so that new ones are seen."""

import asyncio
import base64
import binascii
from dataclasses import dataclass
from http import HTTPStatus

from capper.kube.api import KubeApi, KubeError, NotFoundError
from capper.kube.kinds import Kind
from capper.secret_keys import SecretError
from fleet.clock import Clock

SECRET = Kind(name="Secret", api_version="v1", plural="secrets")
KEPT_SECONDS = 30.0
"""How soon a key that was changed is used."""
# Whoever needs a key has more urgent things to do than to wait for an API server.
_PATIENCE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the API server said, and when by our monotonic clock."""

    data: dict[str, str]
    problem: str
    read_seconds: float


class ClusterSecrets:
    """Secrets of a cluster, read with `get` alone: neither listed nor watched."""

    def __init__(self, api: KubeApi, clock: Clock) -> None:
        """Read through `api`."""
        self._api = api
        self._clock = clock
        self._kept: dict[tuple[str, str], _Kept] = {}

    async def read(self, namespace: str, name: str, key: str) -> str:
        """See Secrets. While the API server is away, the last answer counts.

        Raises:
            SecretError: There is none that can be used.
        """
        kept = self._kept.get((namespace, name))
        now_seconds = self._clock.monotonic_seconds()
        if kept is None or now_seconds - kept.read_seconds >= KEPT_SECONDS:
            kept = await self._asked(namespace, name, kept)
            self._kept[namespace, name] = kept
        if kept.problem:
            raise SecretError(kept.problem)
        if key not in kept.data:
            raise SecretError(f"Secret {name} has no key {key}.")
        return _text(kept.data[key], name, key)

    async def _asked(self, namespace: str, name: str, before: _Kept | None) -> _Kept:
        data: dict[str, str] = {}
        problem = ""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                data = (await self._api.get(SECRET, namespace, name)).get("data") or {}
        except NotFoundError:
            problem = f"Secret {name} is not there."
        except (KubeError, TimeoutError) as error:
            code = error.code if isinstance(error, KubeError) else None
            if code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
                problem = (
                    f"Secret {name} may not be read: allow `get` of it, as "
                    "k8s/components/secret-keys does."
                )
            elif before is not None and not before.problem:
                data = before.data
            else:
                problem = f"Secret {name} cannot be read: the API server does not answer."
        return _Kept(data, problem, self._clock.monotonic_seconds())


def _text(encoded: str, name: str, key: str) -> str:
    try:
        text = base64.b64decode(encoded, validate=True).decode("utf-8").strip()
    except (binascii.Error, ValueError) as error:
        raise SecretError(f"Secret {name}, key {key}: it is not UTF-8 text.") from error
    if not text:
        raise SecretError(f"Secret {name}, key {key}: it is empty.")
    if not (text.isascii() and text.isprintable()):
        # It would travel in a header, where a line break could begin another one.
        raise SecretError(f"Secret {name}, key {key}: it has characters that no header can carry.")
    return text
