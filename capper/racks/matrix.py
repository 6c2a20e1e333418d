"""Which recirculation matrix is in force: given, learned, or none and why. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from capper.api.room_blocks import Placement
from capper.decide.heat_learning import Learned
from fleet.thermal import ThermalModel


class MatrixInForce(NamedTuple):
    """A matrix, or why there is none.

    Attributes:
        model: None: temperatures alone decide.
        source: "given", "learned" or "absent".
        problem: One sentence, when one was asked for and cannot be used.
        error_kelvin: Of a learned one.
    """

    model: ThermalModel | None
    source: str
    problem: str = ""
    error_kelvin: float | None = None


def matrix_in_force(
    racks: Sequence[str], placement: Placement, learned: Learned | None
) -> MatrixInForce:
    """The matrix of a configuration.

    Args:
        racks: In the order of `rackConstraints`.
        placement: The block.
        learned: What the history says; None: not learned, or not yet.
    """
    given = placement.recirculation_matrix
    if given is not None:
        try:
            return MatrixInForce(_model(racks, placement, given), "given")
        except ValueError as error:
            return MatrixInForce(None, "absent", f"placement: {error}; temperatures alone decide")
    if not placement.learn_matrix:
        return MatrixInForce(None, "absent")
    if learned is None:
        return MatrixInForce(None, "absent", "the history has not been looked at yet")
    if learned.model is None:
        why = f"nothing is learned: {learned.refusal}; temperatures alone decide"
        return MatrixInForce(None, "absent", why, learned.error_kelvin)
    return MatrixInForce(learned.model, "learned", error_kelvin=learned.error_kelvin)


def _model(
    racks: Sequence[str], placement: Placement, matrix: tuple[tuple[float, ...], ...]
) -> ThermalModel:
    approach = placement.approach_celsius or (0.0,)
    return ThermalModel(
        racks=tuple(racks),
        approach_celsius=approach * len(racks) if len(approach) == 1 else approach,
        recirculation_kelvin_per_watt=matrix,
    )
