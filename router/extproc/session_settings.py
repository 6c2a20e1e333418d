"""How streams are served, whoever opens them."""

from collections.abc import Callable
from typing import NamedTuple

from router.extproc.events import BodyMode

Alias = Callable[[str, float], str]
"""(model as a client names it, draw in [0, 1)) to the model that a replica is asked for."""


def same_model(model: str, _draw: float) -> str:
    """No model has another name."""
    return model


class SessionSettings(NamedTuple):
    """Settings of a stream.

    Attributes:
        max_body_bytes: Of a body that comes in parts; a larger one is refused.
        unannounced: The mode of bodies that a proxy sends without saying how.
        subset_hints: Whether the gateway may limit the endpoints of a pick.
        alias: The model that a replica is to be asked for when a client names one.
    """

    max_body_bytes: int = 64 * 2**20
    unannounced: BodyMode = BodyMode.BUFFERED
    subset_hints: bool = True
    alias: Alias = same_model
