"""The class in which gRPC's threads are scheduled."""

import os
import sys
import threading

import pytest

from router.extproc.scheduling import batch_threads

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux has these classes")


def scheduled():
    """The class of a thread that is started here and now."""
    found = []
    thread = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
    thread.start()
    thread.join()
    return found[0]


def test_threads_started_meanwhile_do_not_interrupt_and_others_are_as_before():
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    with batch_threads():
        assert scheduled() == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    assert scheduled() == os.SCHED_OTHER


def test_the_class_is_as_before_after_an_error_too():
    with pytest.raises(ZeroDivisionError), batch_threads():
        raise ZeroDivisionError
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_class_that_an_operator_chose_stays():
    def look():
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        with batch_threads():
            found.append(scheduled())
        found.append(os.sched_getscheduler(0))

    found = []
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [os.SCHED_IDLE, os.SCHED_IDLE]
