"""kopf: configurations that come, change and go, with a finalizer until all is put back.

kopf runs in a thread of its own. When an operator ends, kopf cancels every task of its event loop
that was started after it, and it takes SIGTERM for itself: in the loop that serves requests both
would be wrong. The handlers only carry the object over to the loop's thread.
"""

import asyncio
import logging
import threading
from collections.abc import Coroutine, Mapping
from typing import Any

import kopf

from capper.api import GROUP, PLURAL, VERSION
from capper.api.files import InvalidConfigError
from capper.loop import CappingLoop
from capper.operator.leaving import RestoreError
from telemetry.kubernetes.client import load_configuration

_log = logging.getLogger(__name__)
FINALIZER = f"{GROUP}/restore"
_RETRY_SECONDS = 5.0
_RESTART_SECONDS = 5.0
_STOP_SECONDS = 20.0
_CLOSING_SECONDS = 0.25


class KopfThread:
    """Watches configurations and hands them to a loop."""

    def __init__(
        self, loop: CappingLoop, *, kubeconfig: str | None, namespaces: tuple[str, ...]
    ) -> None:
        """Prepare.

        Args:
            loop: Of the event loop that calls `run`.
            kubeconfig: File; None: the pod's own account, or the user's file.
            namespaces: That are watched; none: all.
        """
        self._loop = loop
        self._kubeconfig = kubeconfig
        self._namespaces = namespaces
        self._main: asyncio.AbstractEventLoop | None = None
        self._stop = threading.Event()

    async def run(self) -> None:
        """Watch until cancelled; an operator that ends by itself is started again."""
        self._main = asyncio.get_running_loop()
        while True:
            self._stop = threading.Event()
            running = asyncio.create_task(asyncio.to_thread(self._run_thread, self._stop))
            try:
                await asyncio.shield(running)
            except asyncio.CancelledError:
                self._stop.set()
                await asyncio.wait([running], timeout=_STOP_SECONDS)
                if running.done() and running.exception() is not None:
                    _log.warning("the watch of configurations ended: %r", running.exception())
                raise
            except Exception:  # noqa: BLE001 - supervisor: the loop goes on with what it knows
                _log.exception("the watch of configurations ended")
            await asyncio.sleep(_RESTART_SECONDS)

    def _run_thread(self, stop: threading.Event) -> None:
        asyncio.run(self._operate(stop))

    async def _operate(self, stop: threading.Event) -> None:
        try:
            await kopf.operator(
                registry=self._registry(),
                settings=_settings(),
                standalone=True,
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
                stop_flag=stop,
            )
        finally:
            # Its HTTP client closes connections in the background, for which the loop must live.
            await asyncio.sleep(_CLOSING_SECONDS)

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        resource = (GROUP, VERSION, PLURAL)
        kopf.on.login(registry=registry)(self._login)
        kopf.on.create(*resource, registry=registry)(self._put)
        kopf.on.resume(*resource, registry=registry)(self._put)
        kopf.on.update(*resource, field="spec", registry=registry)(self._put)
        kopf.on.delete(*resource, registry=registry)(self._remove)
        kopf.on.event(*resource, registry=registry)(self._note_end)
        return registry

    async def _login(self, **_: Any) -> kopf.ConnectionInfo:
        found = await load_configuration(self._kubeconfig)
        bearer = await found.get_api_key_with_prefix("BearerToken", alias="authorization")
        token = None if bearer is None else bearer.removeprefix("Bearer ")
        return kopf.ConnectionInfo(
            server=found.host,
            ca_path=found.ssl_ca_cert,
            insecure=not found.verify_ssl,
            token=token,
            certificate_path=found.cert_file,
            private_key_path=found.key_file,
        )

    async def _put(self, body: Mapping[str, Any], **_: Any) -> None:
        try:
            await self._in_main(self._loop.put(dict(body)))
        except InvalidConfigError as error:
            # It is in the status, field by field; to try again would change nothing.
            raise kopf.PermanentError(str(error)) from error
        except RestoreError as error:
            raise kopf.TemporaryError(str(error), delay=_RETRY_SECONDS) from error

    async def _remove(self, body: Mapping[str, Any], **_: Any) -> None:
        try:
            await self._in_main(self._loop.remove(dict(body)))
        except RestoreError as error:
            raise kopf.TemporaryError(str(error), delay=_RETRY_SECONDS) from error

    async def _note_end(self, type: str | None, body: Mapping[str, Any], **_: Any) -> None:  # noqa: A002 - kopf's name
        """Somebody took the finalizer away by hand: still nothing may be left behind."""
        if type == "DELETED" and self._loop.follows(body):
            await self._remove(body)

    async def _in_main(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._main is not None, "run sets it"
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._main))


def _settings() -> kopf.OperatorSettings:
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # else each success is a line
    settings = kopf.OperatorSettings()
    settings.persistence.finalizer = FINALIZER
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
    settings.posting.enabled = False  # events are the loop's own
    settings.scanning.disabled = True  # else it needs to list namespaces and CRDs
    settings.watching.server_timeout = 300  # whole seconds, or the API server refuses
    settings.watching.client_timeout = 330.0  # a connection that died in silence is left
    settings.watching.connect_timeout = 10.0
    settings.networking.request_timeout = 30.0
    settings.networking.connect_timeout = 10.0
    return settings
