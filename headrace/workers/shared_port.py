"""One TCP port for all workers, among which the kernel shares out connections (SO_REUSEPORT).

For proxies that know one address of a router and no more, as gateways of the Inference Extension
do. Connections are shared out, not requests: a gateway with few of them may use few workers.
"""

from dataclasses import replace

from headrace.routing import RoutingPlan
from router.extproc.listening import bound
from router.extproc.server import ExtProcSettings


class SharedPort:
    """Holds the port without listening, so that nobody else takes it while workers come and go."""

    def __init__(self, settings: ExtProcSettings) -> None:
        """Take the port of `settings`; 0 takes a free one.

        Raises:
            ListenError: When it is not to be had, other workers of ours excepted.
        """
        assert settings.port is not None, "checked by the section"
        # First alone: a second router started by mistake fails instead of taking half of it.
        with bound(settings.host, settings.port) as probe:
            port = probe.getsockname()[1]
        self._socket = bound(settings.host, port, shared=True)
        self.port: int = port

    def given_to(self, plan: RoutingPlan) -> RoutingPlan:
        """The plan with this port."""
        return replace(plan, ext_proc=replace(plan.ext_proc, port=self.port, reuse_port=True))

    def close(self) -> None:
        """Let go of it."""
        self._socket.close()
