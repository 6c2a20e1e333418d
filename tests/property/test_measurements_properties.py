"""What is made of the recording rules: losing exporters never looks like headroom."""

from hypothesis import given
from hypothesis import strategies as st

from capper.actuators.workloads import Workload
from capper.decide.observation import PowerSource, TargetReading
from capper.decide.policy import TargetPolicy
from capper.observe.measurements import of_racks, of_targets, target_reading
from capper.observe.recorded import RackKey, Recorded, WorkloadKey, recorded

WATTS = st.floats(1.0, 1e4)
REF = "Deployment/llm/w"


def fleet(pods):
    """Workloads of (watts per pod, pods, pods that report)."""
    seen, targets, workloads = Recorded(now_seconds=100.0), [], {}
    for number, (watts, ready, reporting) in enumerate(pods):
        ref = f"{REF}{number}"
        targets.append(TargetPolicy(ref=ref))
        workloads[ref] = Workload(
            reading=TargetReading(spec_replicas=ready), written=ref, backend=f"w{number}"
        )
        series = {"ready_pods": float(ready), "measured_pods": float(reporting)}
        series["coverage_ratio"] = reporting / ready
        if reporting:
            series |= {"watts": watts * reporting, "measured_seconds": 90.0}
        seen.workloads[WorkloadKey("Deployment", "llm", f"w{number}")] = series
    return targets, seen, workloads


PODS = st.tuples(WATTS, st.integers(1, 8), st.integers(0, 8)).map(
    lambda it: (it[0], it[1], min(it[1], it[2]))
)


@given(st.lists(PODS, min_size=1, max_size=6))
def test_a_sum_covers_all_pods_or_says_how_many_it_covers(pods):
    targets, seen, workloads = fleet(pods)
    found = [*of_targets(targets, seen, workloads, 1.0)]
    ready, reporting = sum(it[1] for it in pods), sum(it[2] for it in pods)
    measured = sum(it[0] * it[2] for it in pods)
    if not reporting:
        assert found == []
        return
    [one] = found
    assert abs(one.coverage_ratio - reporting / ready) < 1e-9
    assert abs(one.watts - measured * ready / reporting) <= 1e-6 * one.watts
    assert one.watts >= measured * (1 - 1e-9)
    assert one.age_seconds == 10.0


@given(st.lists(PODS, min_size=1, max_size=6), st.floats(1.0, 3.0))
def test_a_target_without_watts_is_unknown_and_never_zero(pods, ratio):
    targets, seen, workloads = fleet(pods)
    for target, (watts, ready, reporting) in zip(targets, pods, strict=True):
        reading = target_reading(
            target, seen, workloads[target.ref], domains=frozenset(), host_ratio=ratio
        )
        assert (reading.watts is None) == (reporting == 0)
        if reading.watts is not None:
            assert abs(reading.watts - watts * ready * ratio) <= 1e-6 * reading.watts
        assert reading.spec_replicas == ready


# A part of a rack that is next to nothing leaves no mean to divide by.
COVERAGES = st.just(0.0) | st.floats(1e-6, 1.0)


@given(st.lists(st.tuples(WATTS, COVERAGES), min_size=1, max_size=6))
def test_racks_without_a_source_count_as_not_covered(racks):
    seen = Recorded(now_seconds=100.0)
    for number, (watts, coverage) in enumerate(racks):
        if coverage:
            key = RackKey(f"r{number}", PowerSource.BMC)
            seen.racks[key] = {
                "watts": watts,
                "coverage_ratio": coverage,
                "measured_seconds": 95.0,
            }
    found = [*of_racks([f"r{number}" for number in range(len(racks))], seen, 2.0)]
    if not seen.racks:
        assert found == []
        return
    [one] = found
    known = sum(watts for watts, coverage in racks if coverage)
    assert abs(one.coverage_ratio - sum(it[1] for it in racks) / len(racks)) < 1e-9
    assert one.watts >= known * (1 - 1e-9)
    assert one.host_ratio == 1.0, "servers are measured whole"


@given(st.lists(st.tuples(st.text(max_size=8), st.floats(allow_nan=True)), max_size=8))
def test_any_answer_is_sorted_without_an_error(rows):
    labelled = [
        ({"__name__": f"capper:{name}", "rack": name, "kind": name, "source": name}, value)
        for name, value in rows
    ]
    recorded(labelled)
    recorded([({}, value) for _, value in rows])
