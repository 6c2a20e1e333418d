"""One reading from many samples: the short ways give what the long way gives."""

from hypothesis import given
from hypothesis import strategies as st
from telemetry_harness import fleet_of, replica_at

from telemetry.attribution import Grouping
from telemetry.families import FAMILIES
from telemetry.fleet_index import FleetIndex, LabelNames, Sample

FLEET = fleet_of(
    replica_at("a:1", gpu_uuids=("G1",)),
    replica_at("b:1", gpu_uuids=("G2", "G3")),
    replica_at("c:1", gpu_uuids=("G3",)),
    replica_at("d:1", pod="p", namespace="n"),
)
# One object per series, as sources give them.
LABELS = [
    *({"instance": f"{name}:1", "engine": engine} for name in "abz" for engine in "01"),
    *({"instance": "e:9", "pod": "p", "namespace": "n", "UUID": uuid} for uuid in ("G1", "G9")),
    *({"UUID": uuid} for uuid in ("G1", "G2", "G3")),
    {"instance": "e:9", "pod": "p", "namespace": "n", "gpu": "0"},
    {"instance": "a:1", "block_size": "16", "num_gpu_blocks": "10"},
    {},
]
SAMPLES = st.lists(
    st.builds(
        Sample,
        st.sampled_from(FAMILIES),
        st.sampled_from(LABELS),
        st.sampled_from([0.0, 1.0, 2.5, 400.0, -1.0, 1e18, float("nan"), float("inf")]),
        st.sampled_from([10.0, 11.0, 12.0]),
        st.sampled_from([None, None, "a:1", "d:1", "z:1"]),
    ),
    max_size=12,
)


def found(index, samples):
    grouping = Grouping(index)
    for sample in samples:
        grouping.add([sample])
    return sorted(map(str, grouping.readings())), dict(grouping.rejected)


@given(SAMPLES)
def test_samples_that_come_twice_change_nothing(samples):
    index = FleetIndex(FLEET, LabelNames())
    assert found(index, samples) == found(index, samples + samples)


@given(SAMPLES, SAMPLES)
def test_what_an_index_remembers_changes_nothing(before, samples):
    index = FleetIndex(FLEET, LabelNames())
    found(index, before)
    anew = [
        Sample(one.family, dict(one.labels), one.value, one.observed_seconds, one.address)
        for one in samples
    ]
    assert found(index, samples) == found(FleetIndex(FLEET, LabelNames()), anew)
