"""Profiles of the Locust scenario."""

from hypothesis import given
from hypothesis import strategies as st

from loadtest.locust.shapes import SHAPES

RUN_SECONDS = 100.0


@given(st.sampled_from(sorted(SHAPES)), st.floats(0, RUN_SECONDS), st.integers(1, 1000))
def test_there_is_always_somebody_and_never_too_many(name, at_seconds, most):
    assert 1 <= SHAPES[name](at_seconds, RUN_SECONDS, most) <= most


@given(st.sampled_from(sorted(SHAPES)), st.integers(1, 1000))
def test_every_profile_reaches_its_most(name, most):
    assert max(SHAPES[name](float(at), RUN_SECONDS, most) for at in range(101)) == most


def test_the_profiles_differ():
    runs = {
        name: [shape(float(at), 100.0, 50) for at in range(101)] for name, shape in SHAPES.items()
    }
    assert len({tuple(run) for run in runs.values()}) == len(SHAPES)
