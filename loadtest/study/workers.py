"""Runs jobs here or in several processes; the answers are the same and in the same order."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

from loadtest.bounds import Bounds
from loadtest.study.jobs import BoundJob, Job, Outcome, bound, play

JobT = TypeVar("JobT")
AnswerT = TypeVar("AnswerT")

Progress = Callable[[float], None]
"""Told how many jobs, whole and parts, have been done since it was last told."""


@contextmanager
def workers(processes: int) -> Iterator["Workers"]:
    """Processes that live as long as the block: all jobs in it run the same code.

    Args:
        processes: How many; 1 does everything in this one.
    """
    if processes == 1:
        yield Workers(None)
        return
    # Spawned, not forked: a forked process would inherit the threads of numerical libraries.
    executor = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    try:
        yield Workers(executor)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


class Workers:
    """Where jobs are done; see `workers`."""

    def __init__(self, executor: Executor | None) -> None:
        """Use `executor`, or this process."""
        self._executor = executor

    def play(self, jobs: Sequence[Job], progress: Progress) -> list[Outcome]:
        """Run simulations."""
        if self._executor is None:
            return [_play_here(job, progress) for job in jobs]
        return _spread(self._executor, play, jobs, progress)

    def bound(self, jobs: Sequence[BoundJob], progress: Progress) -> list[Bounds]:
        """Solve linear programs."""
        if self._executor is None:
            return [_bound_here(job, progress) for job in jobs]
        return _spread(self._executor, bound, jobs, progress)


def _play_here(job: Job, progress: Progress) -> Outcome:
    told_ratio = 0.0
    total_seconds = job.scenario.total_seconds

    def on_second(now_seconds: float) -> None:
        nonlocal told_ratio
        # The last answers may come after the end.
        ratio = min(now_seconds / total_seconds, 1.0)
        progress(ratio - told_ratio)
        told_ratio = ratio

    outcome = play(job, on_second)
    progress(1.0 - told_ratio)
    return outcome


def _bound_here(job: BoundJob, progress: Progress) -> Bounds:
    found = bound(job)
    progress(1.0)
    return found


def _spread(
    executor: Executor,
    function: Callable[[JobT], AnswerT],
    jobs: Sequence[JobT],
    progress: Progress,
) -> list[AnswerT]:
    futures = [executor.submit(function, job) for job in jobs]
    pending = set(futures)
    while pending:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
            progress(1.0)
    return [future.result() for future in futures]
