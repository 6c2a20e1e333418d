"""Runs jobs here or in several processes; the answers are the same and in the same order."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, Protocol, TypeVar

AnswerT_co = TypeVar("AnswerT_co", covariant=True)
AnswerT = TypeVar("AnswerT")

Progress = Callable[[float], None]
"""Told the cost of what has been done since it was last told."""


class Work(Protocol[AnswerT_co]):
    """Something to be done, possibly in another process."""

    @property
    def key(self) -> Hashable:
        """Equal for work whose answer is the same."""
        ...

    @property
    def cost(self) -> float:
        """About how long it takes, in any unit that all work shares."""
        ...

    def run(self, on_ratio: Callable[[float], None] | None = None, /) -> AnswerT_co:
        """Do it; `on_ratio` is told how much of it is done, 0 to 1."""
        ...


@contextmanager
def workers(processes: int) -> Iterator["Workers"]:
    """Processes that live as long as the block: all work in it runs the same code.

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
    """Where work is done; see `workers`."""

    def __init__(self, executor: Executor | None) -> None:
        """Use `executor`, or this process."""
        self._executor = executor

    def do(self, works: Sequence[Work[AnswerT]], progress: Progress) -> list[AnswerT]:
        """The answers in the order of `works`; equal work is done once.

        The longest is begun first, so that at the end no process waits for another's long one.

        Args:
            works: What is to be done.
            progress: Told costs; those of `total_cost(works)` in all.
        """
        different = {one.key: one for one in works}
        begun = dict(sorted(different.items(), key=lambda item: -item[1].cost))
        if self._executor is None:
            answers = {key: _done_here(one, progress) for key, one in begun.items()}
        else:
            answers = _spread(self._executor, begun, progress)
        return [answers[one.key] for one in works]


def total_cost(works: Sequence[Work[Any]]) -> float:
    """Of all of them, equal ones counted once."""
    return sum({one.key: one.cost for one in works}.values())


def _done_here(work: Work[AnswerT], progress: Progress) -> AnswerT:
    told_ratio = 0.0

    def on_ratio(ratio: float) -> None:
        nonlocal told_ratio
        progress((ratio - told_ratio) * work.cost)
        told_ratio = ratio

    answer = work.run(on_ratio)
    on_ratio(1.0)
    return answer


def _spread(
    executor: Executor, works: dict[Hashable, Work[AnswerT]], progress: Progress
) -> dict[Hashable, AnswerT]:
    futures: dict[Future[AnswerT], Work[AnswerT]] = {
        executor.submit(one.run): one for one in works.values()
    }
    pending = set(futures)
    while pending:
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
            progress(futures[future].cost)
    return {one.key: future.result() for future, one in futures.items()}
