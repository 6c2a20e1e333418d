"""Leases on boards through the real NVML binding, on a small NVML library compiled here."""

import logging

import nvml_harness
import pytest

from capper.clocks.answers import BoardClaim, Outcome
from capper.clocks.board import Setting
from capper.clocks.keeper import KeeperSettings, NodeKeeper
from capper.clocks.lease import OnExpiry
from capper.clocks.nvml import Nvml
from capper.clocks.record_file import NodeBusyError, RecordFile

LOCK, LIMIT, RESET = (
    "nvmlDeviceSetGpuLockedClocks",
    "nvmlDeviceSetPowerManagementLimit",
    "nvmlDeviceResetGpuLockedClocks",
)
FREE = (0, 650.0)


class Time:
    """A clock that is moved by hand, or by who waits."""

    def __init__(self):
        self.seconds = 1000.0

    def monotonic_seconds(self):
        return self.seconds

    epoch_seconds = monotonic_seconds

    def wait(self, seconds):
        self.seconds += seconds


class Node:
    """A keeper that is killed and started again on one folder."""

    def __init__(self, folder):
        self.folder = folder
        self.time = Time()
        self.keeper = None
        self.start()

    def start(self):
        self.record = RecordFile(self.folder)
        self.keeper = NodeKeeper(
            Nvml(), self.record, self.time, self.time.wait, KeeperSettings(read_back_seconds=0.2)
        )
        self.keeper.open()

    def kill(self):
        """What kill -9 leaves: the lock of the process is gone, nothing is put back."""
        self.record.close()

    def hold(self, mega_hertz=None, watts=None, *, uuid="GPU-0", holder="capper", **terms):
        setting = Setting(max_hertz=mega_hertz and mega_hertz * 1e6, limit_watts=watts)
        claim = BoardClaim(uuid=uuid, setting=setting, **{"lease_seconds": 60.0, **terms})
        (answer,) = self.keeper.hold(holder, [claim])
        return answer

    def beat(self, *, after_seconds=1.0, times=1):
        for _ in range(times):
            self.time.wait(after_seconds)
            self.keeper.beat()


@pytest.fixture
def node(boards, tmp_path):
    assert boards.settings() == FREE
    return Node(tmp_path / "record")


def test_clocks_fall_in_two_steps_and_the_limit_is_their_net(node, boards):
    answer = node.hold(1100, 400)
    assert (answer.outcome, answer.goal_hertz, answer.limit_watts) == (Outcome.HELD, 1.02e9, 400)
    assert boards.settings() == (1500, 400)  # half of the way, snapped to a clock of the board
    node.beat()
    assert boards.settings() == (1020, 400)
    assert node.keeper.readings["GPU-0"].sm_hertz == 1.02e9
    assert boards.settings(1) == FREE


def test_a_lease_that_is_not_renewed_rises_step_by_step_and_leaves_nothing(node, boards):
    node.hold(1000, 300, lease_seconds=10)
    node.beat(times=8)
    assert boards.settings() == (780, 300)
    node.hold(1000, 300, lease_seconds=10)
    node.beat(times=8)
    seen = [boards.settings()]
    for _ in range(150):
        node.beat()
        if seen[-1] != boards.settings():
            seen.append(boards.settings())
    assert seen[0] == (780, 300)
    assert seen[-1] == FREE
    locks = [lock or 1980 for lock, _ in seen]
    assert locks == sorted(locks)
    assert len(locks) > 3
    assert node.keeper.tally.expirations == {"Restore": 1}
    assert node.keeper.tally.restores == 1
    assert node.record.read() == {"schema": 1, "boards": {}}


def test_hold_safe_limit_frees_the_clock_and_keeps_the_limit_until_somebody_claims(node, boards):
    terms = {"on_expiry": OnExpiry.HOLD_SAFE_LIMIT, "safe_limit_watts": 350.0, "lease_seconds": 5}
    node.hold(1000, 300, **terms)
    node.beat(times=200)
    assert boards.settings() == (0, 350)
    node.kill()
    node.start()
    assert boards.settings() == (0, 350)
    node.hold(1000, 300, **terms)
    assert node.keeper.release("capper") == ("GPU-0",)
    node.beat(times=200)
    assert boards.settings() == FREE


def test_the_end_of_the_agent_puts_everything_back_at_once(node, boards):
    node.hold(1000, 300)
    node.hold(1500, None, uuid="GPU-1")
    node.keeper.close()
    assert [boards.settings(0), boards.settings(1)] == [FREE, FREE]


def test_a_killed_agent_is_made_good_by_the_next_one(node, boards):
    node.hold(1000, 300)
    node.beat()
    assert boards.settings() == (780, 300)
    node.kill()
    node.start()
    assert boards.settings() == FREE
    assert node.keeper.tally.orphans == 1
    # The original is that of before the first agent, not what it had lowered.
    node.hold(1000, 300)
    node.keeper.close()
    assert boards.settings() == FREE


def test_two_holders_get_the_lower_of_each_and_nothing_rises_above_what_was_there(node, boards):
    node.hold(1500, 500, holder="one")
    node.hold(1740, 400, holder="two")
    node.beat()
    assert boards.settings() == (1500, 400)
    node.keeper.release("one")
    node.beat(times=40)
    assert boards.settings() == (1740, 400)
    answer = node.hold(1740, 690, holder="two")
    assert answer.limit_watts == 650
    assert boards.settings()[1] == 650


def test_what_a_board_cannot_do_becomes_its_lowest_and_is_said(node, boards):
    answer = node.hold(100, 50)
    node.beat()
    assert boards.settings() == (345, 200)
    assert answer.outcome is Outcome.HELD
    assert "100 MHz is below its lowest clock, 345 MHz" in answer.sentence
    assert "50 W is below its lowest limit, 200 W" in answer.sentence


def test_a_board_without_a_power_limit_is_locked_all_the_same(node, boards):
    boards.fail(nvmlDeviceGetPowerManagementLimitConstraints=nvml_harness.NOT_SUPPORTED)
    answer = node.hold(1740, 300)
    assert (answer.outcome, boards.settings()) == (Outcome.HELD, (1740, 650))
    assert "its power limit cannot be set" in answer.sentence
    answer = node.hold(None, 300, uuid="GPU-1")
    assert answer.outcome is Outcome.REFUSED
    assert boards.settings(1) == FREE


@pytest.mark.parametrize(
    ("function", "code", "words"),
    [
        (LOCK, nvml_harness.PERMISSION, "CAP_SYS_ADMIN"),
        (LOCK, nvml_harness.NOT_SUPPORTED, "Supported"),
        (LIMIT, nvml_harness.PERMISSION, "CAP_SYS_ADMIN"),
    ],
)
def test_what_is_not_permitted_is_refused_and_half_of_it_is_put_back(
    node, boards, function, code, words
):
    boards.fail(**{function: code})
    answer = node.hold(1000, 300)
    assert answer.outcome is Outcome.REFUSED
    assert words in answer.sentence
    boards.fail()
    node.beat(times=3)
    assert boards.settings() == FREE
    assert node.record.read()["boards"] == {}


def test_a_board_that_is_lost_and_back_is_read_again_and_set_again(node, boards, caplog):
    node.hold(1500, 300, lease_seconds=1000)
    boards.set(0, present=0)
    caplog.clear()
    node.beat(times=5)
    lost = [one for one in caplog.records if "GPU-0" in one.getMessage()]
    assert len(lost) == 1
    assert node.hold(1500, 300, lease_seconds=1000).outcome is Outcome.FAILED
    boards.set(0, present=1, lock_mhz=0, limit_mw=700_000)
    node.beat(times=2)
    assert boards.settings() == (1500, 300)
    assert node.hold(1500, 300).outcome is Outcome.HELD
    node.keeper.close()
    assert boards.settings() == FREE  # 650 W, not the 700 W that the board came back with


def test_a_board_that_does_not_come_back_stays_in_the_record(node, boards):
    node.hold(1500, 300)
    boards.set(0, present=0)
    node.keeper.close()
    boards.set(0, present=1)
    node.start()
    assert boards.settings() == FREE
    assert node.keeper.tally.restores == 1


def test_after_a_reload_of_the_driver_everything_is_set_again(node, boards):
    node.hold(1500, 300, lease_seconds=1000)
    boards.reload_driver(2)
    assert boards.settings() == (0, 700)
    node.beat(times=3)
    assert boards.settings() == (1500, 300)
    assert node.keeper.tally.faults["absent"] == 1
    assert node.keeper.tally.mismatches == 0
    node.keeper.close()
    assert boards.settings() == FREE


def test_a_critical_error_that_resets_a_board_is_no_other_writer(node, boards):
    node.hold(1740, 300, lease_seconds=10_000)
    for _ in range(4):
        boards.xid(0, 79)
        boards.set(0, lock_mhz=0, limit_mw=700_000)
        node.beat(times=2)
        assert boards.settings() == (1740, 300)
    assert node.keeper.tally.faults == {"xid_79": 4}
    assert node.keeper.tally.mismatches == 0
    # One that resets nothing disturbs nothing.
    boards.xid(0, 13)
    node.beat()
    assert node.keeper.book.holdings["GPU-0"].known
    assert boards.settings() == (1740, 300)


def test_a_wrong_read_back_is_a_failure_and_the_third_ends_it(node, boards):
    boards.ignore(LOCK)
    answer = node.hold(1740, 300)
    assert answer.outcome is Outcome.FAILED
    assert "runs at 1980 MHz under a lock of 1740 MHz" in answer.sentence
    node.beat(times=2)
    answer = node.hold(1500, 300)
    assert answer.outcome is Outcome.REFUSED
    assert "another program" in answer.sentence
    assert boards.settings() == FREE
    boards.ignore()
    node.beat(after_seconds=1900.0)
    assert node.hold(1500, 300).outcome is Outcome.HELD


def test_another_writer_is_not_fought_for_ever(node, boards):
    node.hold(1500, 300, lease_seconds=10_000)
    for _ in range(3):
        boards.set(0, limit_mw=500_000)
        node.beat()
    node.beat(times=3)
    assert boards.settings() == (0, 500)
    assert node.hold(1500, 300).outcome is Outcome.REFUSED


def test_without_nvml_the_agent_waits_and_says_so_once(boards, tmp_path, caplog):
    boards.fail(nvmlInitWithFlags=9)
    node = Node(tmp_path / "record")
    node.beat(times=5)
    answer = node.hold(1500)
    assert (answer.outcome, not node.keeper.nvml_works) == (Outcome.FAILED, True)
    assert "driver is not there" in answer.sentence
    assert len([one for one in caplog.records if "driver" in one.getMessage()]) == 1
    boards.fail()
    node.beat()
    assert node.hold(1500).outcome is Outcome.HELD


def test_a_damaged_record_resets_clocks_leaves_limits_and_is_kept_for_people(
    node, boards, tmp_path, caplog
):
    node.hold(1500, 300)
    node.kill()
    (tmp_path / "record" / "record.json").write_text('{"schema": 1, "boards": {"GPU-0": 7}}')
    with caplog.at_level(logging.ERROR):
        node.start()
    assert boards.settings() == (0, 300)
    assert (tmp_path / "record" / "record.damaged").exists()
    assert "damaged" in caplog.text


def test_one_agent_a_node(node, tmp_path):
    with pytest.raises(NodeBusyError, match="another clock agent"):
        RecordFile(tmp_path / "record")
    node.kill()
    RecordFile(tmp_path / "record").close()


def test_nothing_is_set_that_could_not_be_recorded_first(node, boards, tmp_path):
    (tmp_path / "record" / "record.partial").symlink_to("/dev/full")
    answer = node.hold(1500, 300)
    assert answer.outcome is Outcome.FAILED
    assert "record cannot be written" in answer.sentence
    assert boards.settings() == FREE
