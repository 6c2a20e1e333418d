"""Clocks fall in at most two steps and rise by one step at a time, whatever the board."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from capper.clocks.board import Board, Setting, fitted
from capper.clocks.ramp import Position, Ramp, step

RAMP = Ramp()


@st.composite
def boards(draw):
    clocks = draw(st.lists(st.integers(10, 200), min_size=2, max_size=40, unique=True))
    return Board(
        uuid="GPU-0",
        clocks_hertz=tuple(sorted(15e6 * clock for clock in clocks)),
        limit_watts=draw(st.floats(200.0, 700.0)),
        min_limit_watts=200.0,
        max_limit_watts=700.0,
    )


def moves(board, start, goal, *, every_seconds):
    """Positions from `start` to `goal`, looked at every so often; the start is the first."""
    found, now_seconds = [Position(hertz=start, changed_seconds=0.0)], 0.0
    for _ in range(100_000):
        now_seconds += every_seconds
        new = step(found[-1], goal, board, RAMP, now_seconds=now_seconds)
        if new is not found[-1]:
            found.append(new)
        if new.hertz == goal:
            return found
    raise AssertionError("it does not get there")


@given(board=boards(), data=st.data(), every_seconds=st.sampled_from([0.1, 1.0, 7.0]))
def test_down_in_two_steps_up_one_step_each_thirty_seconds(board, data, every_seconds):
    clocks = (*board.clocks_hertz[:-1], None)
    start, goal = data.draw(st.sampled_from(clocks)), data.draw(st.sampled_from(clocks))
    found = moves(board, start, goal, every_seconds=every_seconds)
    full = board.clocks_hertz[-1]
    hertz = [full if one.hertz is None else one.hertz for one in found]
    assert set(hertz) <= set(board.clocks_hertz)
    if hertz[-1] < hertz[0]:
        assert len(found) <= 3
        assert hertz == sorted(hertz, reverse=True)
    elif len(found) > 1:
        assert hertz == sorted(hertz)
        pauses = [b.changed_seconds - a.changed_seconds for a, b in pairwise(found)]
        assert min(pauses) >= RAMP.up_seconds
        width = full - board.clocks_hertz[0]
        gaps = [b - a for a, b in pairwise(board.clocks_hertz)]
        steps = [b - a for a, b in pairwise(hertz)]
        assert max(steps) <= max(RAMP.up_ratio * width, *gaps, 0.0) + 1.0


@given(
    board=boards(),
    mega_hertz=st.none() | st.floats(1.0, 4000.0),
    watts=st.none() | st.floats(1.0, 1000.0),
)
def test_what_is_set_is_never_above_the_wish_nor_outside_the_board(board, mega_hertz, watts):
    wish = Setting(max_hertz=mega_hertz and mega_hertz * 1e6, limit_watts=watts)
    set_, said = fitted(wish, board, original_watts=board.limit_watts)
    if set_.max_hertz is not None:
        assert set_.max_hertz in board.clocks_hertz[:-1]
        assert set_.max_hertz <= wish.max_hertz or set_.max_hertz == board.clocks_hertz[0]
    else:
        assert wish.max_hertz is None or wish.max_hertz >= board.clocks_hertz[-1]
    if set_.limit_watts is not None:
        assert 200.0 <= set_.limit_watts < board.limit_watts
        assert set_.limit_watts <= wish.limit_watts or set_.limit_watts == 200.0
    assert fitted(set_, board, original_watts=board.limit_watts) == (set_, ())
    low = wish.max_hertz is not None and wish.max_hertz < board.clocks_hertz[0]
    assert len(said) == low + (watts is not None and watts < 200.0)
