"""What a follower believes of the leader's statuses, and for how long."""

from hypothesis import given
from hypothesis import strategies as st
from telemetry_harness import ManualClock

from capper.api.files import parse
from capper.operator.following import FollowedAllowances
from capper.operator.timestamps import rfc3339

STALE_SECONDS = 150.0
KEY = ("llm", "scaler")


def config(turn_seconds, *, name="cap", replicas=4, enabled=True, **target):
    one = {"actuationTarget": "ScaledObject/llm/scaler", "allowedReplicas": replicas, **target}
    status = {"targets": [{"currentReplicas": 3, "band": "Watch", **one}]}
    if turn_seconds is not None:
        status["lastTurnTime"] = rfc3339(turn_seconds)
    document = {
        "apiVersion": "powercapping.climatik-project.ai/v1",
        "kind": "PowerCappingConfig",
        "metadata": {"name": name, "namespace": "llm", "uid": name},
        "spec": {
            "powerCapLimit": 5000,
            "deploymentName": "llm",
            "externalScaler": {"enabled": enabled},
        },
    }
    found = parse(document)
    return found.model_copy(update={"status": status})


def followed():
    clock = ManualClock()
    return clock, FollowedAllowances(clock, stale_seconds=STALE_SECONDS)


def told(one, *configs):
    """Replicas of the object; None: nothing is known of it; "stale"."""
    board = one.board(configs, expires_seconds=0.0)
    if KEY in board.stale:
        return "stale"
    allowance = board.allowances.get(KEY)
    return None if allowance is None else allowance.replicas


def test_a_status_is_believed_until_it_has_stayed_the_same_for_too_long():
    clock, one = followed()
    written = config(clock.epoch)
    assert told(one, written) == 4
    clock.advance(STALE_SECONDS)
    assert told(one, written) == 4
    clock.advance(1.0)
    assert told(one, written) == "stale"
    assert told(one, config(clock.epoch, replicas=5)) == 5


def test_of_the_first_status_its_own_time_counts():
    clock, one = followed()
    assert told(one, config(clock.epoch - STALE_SECONDS - 1.0)) == "stale"
    assert told(one, config(None, name="never written")) == "stale"


def test_a_leaders_clock_that_is_wrong_matters_once():
    clock, one = followed()
    assert told(one, config(clock.epoch + 3600.0)) == 4, "ahead of ours"
    clock.advance(STALE_SECONDS + 1.0)
    assert told(one, config(clock.epoch + 3600.0 - 1e5)) == 4, "it changed, so it is new"


def test_of_two_the_lower_and_nothing_while_one_is_silent():
    clock, one = followed()
    low, high = config(clock.epoch, replicas=2), config(clock.epoch, name="b", replicas=7)
    assert told(one, low, high) == told(one, high, low) == 2
    clock.advance(STALE_SECONDS + 1.0)
    assert told(one, low, config(clock.epoch, name="b", replicas=7)) == "stale"


def test_only_what_keda_is_told_of_counts():
    clock, one = followed()
    assert told(one, config(clock.epoch, enabled=False)) is None
    assert told(one, config(clock.epoch, actuationTarget="Deployment/llm/scaler")) is None
    assert told(one, config(clock.epoch, replicas=None)) is None
    assert told(one) is None


@given(
    st.lists(st.floats(0.0, 200.0), min_size=1, max_size=12),
    st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_never_a_number_older_than_the_limit(steps, writes):
    clock, one = followed()
    written_seconds, status = clock.monotonic, config(clock.epoch)
    turn = 0
    for step, writing in zip(steps, writes, strict=False):
        found = told(one, status)
        old = clock.monotonic - written_seconds > STALE_SECONDS
        assert found == ("stale" if old else 4)
        clock.advance(step)
        if writing:
            turn += 1
            written_seconds, status = clock.monotonic, config(1_800_000_000.0 + turn)
            told(one, status)
