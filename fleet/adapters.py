"""Which LoRA adapters an engine has at work."""

from typing import NamedTuple


class LoadedAdapters(NamedTuple):
    """Adapters at work on a replica: those are in its GPU memory, another must be loaded first.

    Attributes:
        running: Adapters with running requests.
        waiting: Adapters with waiting requests only.
        max_adapters: How many fit at once; None when the engine does not say.
        observed_seconds: Monotonic time of the measurement.
    """

    running: frozenset[str]
    waiting: frozenset[str]
    max_adapters: int | None
    observed_seconds: float
