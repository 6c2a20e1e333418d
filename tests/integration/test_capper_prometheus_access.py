"""How the serve file says that Prometheus is asked for watts, as the server sees it."""

from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web
from loopback_http import served_at

from capper.actuators.workloads import Workload
from capper.api.files import parse
from capper.api.translate import policy_of
from capper.decide.observation import TargetReading
from capper.operator.snapshot_observer import SnapshotObserver
from fleet.snapshot import FleetSnapshot, SnapshotHolder
from fleet.topology import Fleet
from headrace.capper_file import CapperSection
from headrace.capping_inputs import ChosenObserver
from telemetry.system_clock import SystemClock

TARGET_WATTS = 500.0


class Prometheus:
    """Answers every query with one rule's series, and keeps the headers of who asks."""

    def __init__(self):
        self.asked = []
        self.url = ""

    async def answer(self, request):
        self.asked.append(request.headers)
        labels = {"__name__": "headrace:workload_power:watts", "namespace": "default"}
        series = {"metric": {**labels, "capper_part": "value"}, "value": [0, str(TARGET_WATTS)]}
        data = {"resultType": "vector", "result": [series]}
        return web.json_response({"status": "success", "data": data})


@asynccontextmanager
async def prometheus():
    server = Prometheus()
    async with served_at(server.answer) as server.url:
        yield server


def config(*addresses):
    return parse(
        {
            "apiVersion": "powercapping.climatik-project.ai/v1",
            "kind": "PowerCappingConfig",
            "metadata": {"name": "cap"},
            "spec": {
                "powerCapLimit": 5000,
                "deploymentName": "llm",
                "metrics": [
                    {"query": "vector(500)", "prometheusAddress": one} for one in addresses
                ],
            },
        }
    )


@pytest.mark.parametrize("given", [True, False])
async def test_headers_and_token_go_to_the_default_prometheus_and_to_no_other(tmp_path, given):
    (tmp_path / "token").write_text("s3cret\n", encoding="utf-8")
    said = {"headers": {"X-Scope-OrgID": "gpu"}, "token_file": "token"} if given else {}
    section = CapperSection.model_validate({"configs": ["cap.yaml"], "prometheus": said})
    async with AsyncExitStack() as opened:
        own = await opened.enter_async_context(prometheus())
        other = await opened.enter_async_context(prometheus())
        access = section.beside(tmp_path).prometheus.settings(own.url, patience_seconds=5.0)
        clock = SystemClock()
        snapshots = SnapshotHolder(FleetSnapshot(fleet=Fleet(()), published_seconds=0.0))
        observer = ChosenObserver(SnapshotObserver(snapshots, clock), access, clock)
        opened.push_async_callback(observer.aclose)
        found = config(own.url, other.url)
        policy = policy_of(found)
        (target,) = policy.targets
        workload = Workload(reading=TargetReading(), written=target.ref)
        seen = await observer.observe(found, policy, {target.ref: workload})
        assert seen.domains["fleet"].power[0].samples[0].value == TARGET_WATTS
    assert own.asked
    assert other.asked
    expected = {("gpu", "Bearer s3cret")} if given else {(None, None)}
    told = {(one.get("X-Scope-OrgID"), one.get("Authorization")) for one in own.asked}
    assert told == expected
    assert not [one for one in other.asked if "Authorization" in one or "X-Scope-OrgID" in one]
