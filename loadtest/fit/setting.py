"""What the configurations of one accelerator share, and the points its runs give. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.fit import declared
from loadtest.fit.calibration import LARGEST_BATCH, Host, context_tokens
from loadtest.fit.declared import Architecture
from loadtest.fit.leave_out import step_table
from loadtest.fit.operators import Operators
from loadtest.fit.sources import Data, Run
from loadtest.models.schema import Step

CHAT = "lm-arena-chat"
"""The task whose runs the tables are made from."""

LONG = "gpqa"
"""The task with answers of thousands of tokens: predicted, not fitted."""

SECONDS_DIGITS = 5
"""Decimals of tabulated seconds: 0.01 ms."""

WATTS_DIGITS = 1
"""Decimals of tabulated watts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all configurations of one accelerator share.

    Attributes:
        accelerator: Short name.
        data: Everything that is fitted to.
        operators: Name among the operator times -> operators on this accelerator.
        host: Its calibration, or the one that is assumed for it.
        host_assumption: Why, if it is assumed.
        max_clock_hz: SM clock of all data.
    """

    accelerator: str
    data: Data
    operators: dict[str, Operators]
    host: Host
    host_assumption: tuple[str, ...]
    max_clock_hz: float

    def runs(self, model: str, *, gpus: int, task: str = CHAT) -> list[Run]:
        """Runs within the tables, by rising batch."""
        found = [
            run
            for run in self.data.runs
            if (run.gpu, run.model, run.gpus, run.task) == (self.accelerator, model, gpus, task)
            and run.batch <= LARGEST_BATCH
        ]
        return sorted(found, key=lambda run: run.batch)


def step_points(runs: Sequence[Run]) -> tuple[tuple[float, float], ...]:
    """Running requests and the median inter-token latency."""
    return tuple((run.batch, round(run.decode_seconds, SECONDS_DIGITS)) for run in runs)


def watt_points(runs: Sequence[Run]) -> tuple[tuple[float, float], ...]:
    """Running requests and watts of one board."""
    return tuple((run.batch, round(run.watts / run.gpus, WATTS_DIGITS)) for run in runs)


def held_out_runs(
    setting: Setting, architecture: Architecture, runs: Sequence[Run]
) -> dict[str, list[Run]]:
    """Name -> runs that no table is made from, within the batches of `runs`.

    For the 70B a later model of the same architecture; else the same model on the task with the
    long answers, which the KV term has to carry over to.
    """
    low, high, gpus = runs[0].batch, runs[-1].batch, runs[0].gpus
    later = architecture is declared.ARCHITECTURES[declared.LLAMA_70B]
    model, task = (declared.HELD_OUT_70B, CHAT) if later else (architecture.run, LONG)
    found = [run for run in setting.runs(model, gpus=gpus, task=task) if low <= run.batch <= high]
    return {f"held_out {model if later else task}": found} if found else {}


def predicted_step_seconds(step: Step, runs: Sequence[Run]) -> list[float]:
    """Decode steps that a table and its KV term foretell of runs."""
    return [
        step_table(step.points, run.batch)
        + step.seconds_per_kv_token
        * run.batch
        * (context_tokens(run) - step.reference_context_tokens)
        for run in runs
    ]
