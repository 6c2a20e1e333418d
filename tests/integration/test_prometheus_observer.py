"""The observer over a real Prometheus: our rules, users' queries, and all that can be wrong."""

import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from telemetry_harness import PrometheusServer, exporters, free_port, until

from capper.actuators.workloads import Workload
from capper.api.files import parse
from capper.api.translate import policy_of
from capper.decide.loop import decide
from capper.decide.observation import PowerSource, TargetReading
from capper.decide.plan import SetMaxReplicas
from capper.decide.policy import ROOT
from capper.decide.state import State
from capper.observe.adapters import Adapters, MetricError, MetricReading
from capper.observe.observer import PrometheusObserver
from capper.observe.rules.recordings import GROUP, RECORDINGS
from capper.observe.rules.rule import groups
from telemetry.system_clock import SystemClock

pytestmark = pytest.mark.prometheus
REF = "Deployment/llm/chat"
BAD = {
    "DCGM_FI_DEV_POWER_USAGE": "gives 2 series and must give one number",
    "nothing_watts": "gives nothing now",
    "sum(nothing_watts) or vector(0)": "rests on no sample now",
    "missing_watts": "gives nan, which is no number",
    "house_watts / 0": "gives inf, which is no number",
    '"text"': "gives text",
    "house_watts[5m]": "gives a range",
    "sum by (((": "was refused",
}
UNREACHABLE = f"http://127.0.0.1:{free_port()}"
OWNER = 'exported_namespace="llm",exported_pod="chat-'
DEPLOYMENT = 'owner_kind="Deployment",owner_name="chat"'
TOLD = (
    *(
        f'DCGM_FI_DEV_POWER_USAGE{{UUID="G{board}",Hostname="a",{OWNER}{board}"}} {watts}'
        for board, watts in ((0, 300), (1, 500))
    ),
    *(
        f'{name}{{namespace="llm",pod="chat-{number}",{labels}}} 1'
        for number in (0, 1)
        for name, labels in (
            ("kube_pod_owner", 'owner_kind="ReplicaSet",owner_name="chat-5d"'),
            ("kube_pod_status_ready", 'condition="true"'),
            ("kube_pod_info", 'node="a"'),
        )
    ),
    f'kube_replicaset_owner{{namespace="llm",replicaset="chat-5d",{DEPLOYMENT}}} 1',
    'kube_node_info{node="a"} 1',
    'kube_node_labels{node="a",label_topology_headrace_dev_rack="r1"} 1',
    'ipmi_temperature_celsius{name="Inlet Temp",node="a"} 24',
    "house_watts 900",
    "missing_watts NaN",
)


def config_of(*metrics, name="row", **spec):
    return parse(
        {
            "apiVersion": "powercapping.climatik-project.ai/v1",
            "kind": "PowerCappingConfig",
            "metadata": {"name": name, "namespace": "llm"},
            "spec": {
                "powerCapLimit": 1000,
                "deploymentName": "chat",
                "metrics": list(metrics),
                **spec,
            },
        }
    )


def query(text, **more):
    return {"type": "prometheus", "query": text, **more}


WORKLOADS = {
    REF: Workload(
        reading=TargetReading(spec_replicas=2, ready_replicas=2), written=REF, backend="chat"
    )
}


@asynccontextmanager
async def watched(folder):
    """A Prometheus with our rules, evaluated five times a second, and one scripted exporter."""
    document = groups(GROUP, RECORDINGS)
    document["groups"][0]["interval"] = "200ms"
    (folder / "rules.yaml").write_text(yaml.safe_dump(document))
    async with exporters(1) as (exporter,):
        exporter.expose(*TOLD)
        server = PrometheusServer(folder, {"all": ([exporter.address], {})})
        path = Path(folder) / "prometheus.yml"
        settings = yaml.safe_load(path.read_text()) | {"rule_files": ["rules.yaml"]}
        path.write_text(yaml.safe_dump(settings))
        await server.start()
        try:
            yield exporter, server
        finally:
            await server.stop()


@asynccontextmanager
async def observer_of(url, **more):
    observer = PrometheusObserver(url, SystemClock(), **{"timeout_seconds": 1.0, **more})
    try:
        yield observer
    finally:
        await observer.aclose()


async def seen_by(observer, config, workloads=WORKLOADS):
    policy = policy_of(config)
    observation = await observer.observe(config, policy, workloads)
    return observation, observer.problems[policy.name]


def watts_of(observation, domain=ROOT):
    """Source -> newest watts."""
    return {
        one.source: one.samples[0].value for one in observation.domains[domain].power if one.samples
    }


async def test_the_rules_give_watts_coverage_age_and_racks(tmp_path):
    racks = config_of(rackConstraints=[{"rackId": "r1", "maxPower": 900, "maxTemperature": 27}])
    async with watched(tmp_path) as (exporter, server), observer_of(server.url) as observer:

        async def measured():
            observation, problems = await seen_by(observer, config_of())
            return watts_of(observation) and not problems and observation

        observation = await until(measured, seconds=20)
        assert watts_of(observation) == {PowerSource.BOARDS: 800}
        [reading] = observation.domains[ROOT].power
        assert reading.coverage_ratio == 1.0
        assert 0.0 <= reading.samples[0].age_seconds < 10.0
        target = observation.targets[REF]
        assert (target.watts, target.ready_replicas, target.replica_watts_p95) == (800, 2, 400)

        observation, problems = await seen_by(observer, racks)
        assert problems == ()
        assert watts_of(observation, "r1") == watts_of(observation) == {PowerSource.BOARDS: 800}
        assert observation.domains["r1"].inlet_celsius[0].value == 24
        assert observation.targets[REF].domain_shares == {"r1": 1.0}

        # Half of the exporter's boards lost: less coverage, and never half of the watts.
        exporter.expose(*TOLD[1:])

        async def halved():
            observation, _ = await seen_by(observer, config_of())
            [reading] = observation.domains[ROOT].power
            return reading.coverage_ratio == 0.5 and observation

        observation = await until(halved)
        assert watts_of(observation) == {PowerSource.BOARDS: 1000}
        worst = max(one.value for one in observation.domains[ROOT].power[0].samples)
        assert worst == 1000

        # All lost: the samples grow old, and none is added.
        await exporter.stop()

        async def aged():
            observation, _ = await seen_by(observer, config_of())
            [newest, *_] = observation.domains[ROOT].power[0].samples
            return newest.age_seconds > 2.0 and observation

        observation = await until(aged)
        assert watts_of(observation) == {PowerSource.BOARDS: 1000}


@pytest.mark.parametrize(("text", "problem"), BAD.items())
def test_a_query_that_gives_no_number_says_so_and_is_never_zero_watts(problems, text, problem):
    observation, told = problems[text]
    assert watts_of(observation) == {}
    assert len(told) == 1
    assert problem in told[0]
    assert told[0].startswith("metrics[0]: `")
    assert told[0].endswith(".")
    assert "\n" not in told[0]
    policy = policy_of(config_of(query(text), mode="Enforce"))
    plan = decide(policy, observation, State(), now_seconds=1.7e9, draws={})
    cuts = [one for one in plan.actions if isinstance(one, SetMaxReplicas) and one.replicas < 2]
    assert cuts == [], "an outage must not collapse replicas"


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    """All bad queries, asked of one Prometheus."""

    async def ask():
        async with (
            watched(tmp_path_factory.mktemp("bad")) as (_, server),
            observer_of(server.url) as observer,
        ):

            async def good():
                seen, _ = await seen_by(observer, config_of(query("house_watts")))
                return watts_of(seen)

            await until(good, seconds=20)
            return {
                text: await seen_by(observer, config_of(query(text), name=f"n{number}"))
                for number, text in enumerate(BAD)
            }

    return asyncio.run(ask())


class Meter:
    """An adapter that answers, or fails, as its query says."""

    async def measure(self, request):
        if request.query == "broken":
            raise MetricError("the meter is out of order.")
        if request.query == "odd":
            raise ValueError(request.query)
        if request.query == "slow":
            await asyncio.sleep(30)
        return MetricReading(watts=float(request.query), age_seconds=7.0, coverage_ratio=0.9)


def meter(text):
    return {"type": "meter", "query": text}


async def test_numbers_of_all_types_addresses_and_adapters(tmp_path):
    async with (
        watched(tmp_path) as (_, server),
        observer_of(None, adapters=Adapters({"meter": Meter})) as observer,
    ):
        here = {"prometheusAddress": server.url + "/"}

        async def given():
            seen, _ = await seen_by(observer, config_of(query("house_watts", **here)))
            return watts_of(seen)

        assert await until(given, seconds=20) == {PowerSource.QUERY: 900}
        expected = {
            "house_watts": 900,
            "scalar(house_watts)": 900,
            "40 * 20": 800,
            "sum(DCGM_FI_DEV_POWER_USAGE) # boards": 800,
            "sum(capper:rack_watts)": 800,
        }
        for number, (text, watts) in enumerate(expected.items()):
            config = config_of(query(text, **here), name=f"n{number}")
            observation, problems = await seen_by(observer, config)
            assert (watts_of(observation), problems) == ({PowerSource.QUERY: watts}, ())

        config = config_of(query("DCGM_FI_DEV_POWER_USAGE > 400", scopeCount=4, **here), name="c")
        observation, _ = await seen_by(observer, config)
        assert observation.domains[ROOT].power[0].coverage_ratio == 0.5
        assert observation.targets[REF].watts == 800  # of the rules at the same address

        both = config_of(query("house_watts", **here), meter("950"), name="both")
        observation, problems = await seen_by(observer, both)
        assert (watts_of(observation), problems) == ({PowerSource.QUERY: 950}, ())
        assert observation.domains[ROOT].power[0].samples[0].age_seconds >= 7.0
        assert observation.domains[ROOT].power[0].coverage_ratio == 0.9

        for text, problem in (
            ("broken", "the meter is out of order."),
            ("odd", "ValueError: odd"),
            ("slow", "did not answer within 1 s"),
            ("nan", "gives nan"),
        ):
            bad = config_of(query("house_watts", **here), meter(text), name=text)
            observation, problems = await seen_by(observer, bad)
            assert watts_of(observation) == {}, "a domain without one of its queries is not known"
            assert problem in problems[0]
        absent = config_of({"type": "absent", "query": "1"}, query("1", domain="r9", **here))
        _, problems = await seen_by(observer, absent)
        assert 'no metric adapter "absent" is installed; installed: meter.' in problems[0]

        elsewhere = config_of(query("1", prometheusAddress=UNREACHABLE), name="elsewhere")
        observation, problems = await seen_by(observer, elsewhere)
        assert watts_of(observation) == {}
        assert all("cannot be asked" in problem for problem in problems)
        assert (await seen_by(observer, both))[1] == (), "one bad server costs the others nothing"


async def test_without_rules_or_prometheus_one_sentence_says_what_to_do(tmp_path):
    async with exporters(0), observer_of(None) as observer:
        observation, problems = await seen_by(observer, config_of())
        assert problems == ("no Prometheus is known: give metrics[].prometheusAddress.",)
        assert watts_of(observation) == {}
        assert observation.targets[REF].ready_replicas == 2
    server = PrometheusServer(tmp_path, {})
    await server.start()
    try:
        async with observer_of(server.url) as observer:
            observation, [problem] = await seen_by(observer, config_of())
            assert "install k8s/components/prometheus-rules" in problem
            assert watts_of(observation) == {}
            observation, problems = await seen_by(observer, config_of(query("vector(5)")))
            assert (watts_of(observation), problems) == ({PowerSource.QUERY: 5}, ())
    finally:
        await server.stop()
