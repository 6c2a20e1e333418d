"""Fleets by name, and the world they make. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fleet.priors import prior_profile
from fleet.topology import Backend, Fleet, Objective, Replica
from loadtest.truth import Truth, truth_of

PARAMETERS = {"llama-3.1-8b": 8.03e9, "llama-3.1-70b": 70.6e9}
"""Weights of the models that scenarios may name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendPlan:
    """Equal replicas.

    Attributes:
        accelerator: As `loadtest.truth` names it.
        replicas: How many.
        gpus_per_replica: Boards of each (tensor parallelism).
        models: What they serve.
    """

    accelerator: str
    replicas: int
    gpus_per_replica: int = 1
    models: tuple[str, ...] = ()

    def serving(self, model: str) -> "BackendPlan":
        """The same with one model."""
        return replace(self, models=(model,))

    @property
    def name(self) -> str:
        """Of the backend: accelerator and parallelism."""
        boards = f"x{self.gpus_per_replica}" if self.gpus_per_replica > 1 else ""
        return f"{self.accelerator.lower()}{boards}"

    @property
    def gpus(self) -> int:
        """Boards of all replicas."""
        return self.replicas * self.gpus_per_replica


def _plan(accelerator: str, replicas: int, gpus: int = 1) -> BackendPlan:
    return BackendPlan(accelerator=accelerator, replicas=replicas, gpus_per_replica=gpus)


_F2 = (_plan("A100", 3), _plan("H100", 3), _plan("B200", 2))
FLEETS: dict[str, tuple[BackendPlan, ...]] = {
    "F1": (_plan("H100", 8),),
    "F2": _F2,
    "F3": (*_F2, _plan("L40S", 4)),
    "F4": (_plan("H100", 2, 4), _plan("B200", 1, 2), _plan("A100", 2, 8)),
}
"""The standard fleets of facts/simulation.md section 3; F4 is for 70B models."""


def truths(plans: Sequence[BackendPlan], model: str) -> dict[str, Truth]:
    """Backend name -> what its boards really do.

    Raises:
        ValueError: There are no data for one of the backends; a clause without full stop.
    """
    return {plan.name: _truth(plan, model) for plan in plans}


def _truth(plan: BackendPlan, model: str) -> Truth:
    try:
        return truth_of(plan.accelerator, model, gpus=plan.gpus_per_replica)
    except KeyError as error:
        raise ValueError(f"there are no simulated physics: {error.args[0]}") from error


def addresses(plans: Sequence[BackendPlan]) -> dict[str, str]:
    """Replica name ("h100/0") -> address, in the order of the fleet."""
    names = [f"{plan.name}/{index}" for plan in plans for index in range(plan.replicas)]
    return {name: f"10.0.0.{number}:8000" for number, name in enumerate(names, start=1)}


def build_fleet(
    plans: Sequence[BackendPlan],
    *,
    model: str,
    objective: Objective,
    racks: int | Mapping[str, str],
    prior_ratio: float,
) -> Fleet:
    """What the router is told.

    Args:
        plans: The backends.
        model: What sizes the priors.
        objective: Promised to all requests.
        racks: Power domains, filled in turn; or replica name -> power domain.
        prior_ratio: Times and dynamic watts of the priors over what they should be.
    """
    by_name = addresses(plans)
    domains = (
        {name: f"rack-{number % racks}" for number, name in enumerate(by_name)}
        if isinstance(racks, int)
        else racks
    )
    return Fleet(
        tuple(
            Backend(
                name=plan.name,
                accelerator=plan.accelerator,
                gpus_per_replica=plan.gpus_per_replica,
                parameters=PARAMETERS[model],
                objective=objective,
                profile=prior_profile(
                    plan.accelerator,
                    parameters=PARAMETERS[model],
                    gpus_per_replica=plan.gpus_per_replica,
                ).scaled(time_ratio=prior_ratio, power_ratio=prior_ratio),
                replicas=tuple(
                    Replica(
                        address=by_name[f"{plan.name}/{index}"],
                        backend=plan.name,
                        models=plan.models,
                        domain=domains[f"{plan.name}/{index}"],
                    )
                    for index in range(plan.replicas)
                ),
            )
            for plan in plans
        )
    )
