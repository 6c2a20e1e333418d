"""Dealing one bound over several fields: nothing is lost, nobody falls below a floor."""

from hypothesis import given
from hypothesis import strategies as st

from capper.actuators.bounds import Bound, original_max, present, split, values_of

COUNTS = st.integers(min_value=0, max_value=40)


@st.composite
def parts(draw):
    found = []
    for number in range(draw(st.integers(min_value=1, max_value=3))):
        minimum = draw(st.integers(min_value=1, max_value=5))
        top = draw(st.integers(min_value=minimum, max_value=40))
        bound = Bound(path=("spec", str(number)), value=top, minimum=minimum, maximum=top)
        found.append((bound, draw(st.integers(min_value=minimum, max_value=top))))
    return found


@given(parts(), COUNTS)
def test_a_split_is_conserved_within_floors_and_tops(found, total):
    bounds, current = zip(*found, strict=True)
    dealt = split(total, bounds, current)
    floors, tops = sum(b.minimum for b in bounds), sum(b.maximum for b in bounds)
    assert sum(dealt) == min(max(total, floors), tops)
    for share, bound in zip(dealt, bounds, strict=True):
        assert bound.minimum <= share <= bound.maximum


@given(parts())
def test_a_joint_freeze_is_a_freeze_of_each(found):
    bounds, current = zip(*found, strict=True)
    assert split(sum(current), bounds, current) == list(current)


@given(parts(), COUNTS)
def test_below_what_runs_nobody_grows(found, total):
    bounds, current = zip(*found, strict=True)
    if total <= sum(current):
        assert all(
            share <= now for share, now in zip(split(total, bounds, current), current, strict=True)
        )


@given(parts())
def test_what_was_present_is_read_back(found):
    bounds = [bound for bound, _ in found]
    text = present(bounds)
    assert values_of(text, len(bounds)) == [bound.value for bound in bounds]
    assert original_max(text) == sum(bound.value for bound in bounds)


@given(st.text())
def test_a_damaged_text_is_unknown(text):
    assert len(values_of(text, 2)) == 2
    original_max(text)
