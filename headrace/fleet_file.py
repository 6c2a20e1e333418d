"""The fleet file: which replicas there are, on what, serving which models."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fleet.priors import ACCELERATORS, prior_profile
from fleet.profile import PowerCurve, Profile, StepTime
from fleet.topology import Backend, Fleet, Objective, Replica
from headrace.config_errors import load_model

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]

_ADDRESS = re.compile(r"^(\[[0-9a-fA-F:.]+\]|[0-9]{1,3}(\.[0-9]{1,3}){3}):([0-9]{1,5})$")
_MAX_PORT = 65535


class Section(BaseModel):
    """A part of a configuration file; unknown fields are errors, not ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ObjectiveSection(Section):
    """Latency promised to requests that name none (see fleet.topology.Objective)."""

    ttft_seconds: Positive = 1.0
    tpot_seconds: Positive = 0.05
    margin_ratio: Annotated[float, Field(gt=0, le=1)] = Objective().margin_ratio


class StepSection(Section):
    """Iteration time of an own profile (see fleet.profile.StepTime)."""

    base_seconds: Positive
    per_request_seconds: NonNegative
    per_kv_token_seconds: NonNegative
    per_prompt_token_seconds: Positive
    per_prompt_token_squared_seconds: NonNegative = 0.0
    chunk_tokens: Annotated[int, Field(gt=0)] = 2048


class PowerSection(Section):
    """Power of an own profile (see fleet.profile.PowerCurve)."""

    idle_watts: NonNegative
    floor_watts: Positive
    span_watts: NonNegative
    steepness: Positive = 1.0
    midpoint_log2: NonNegative = 6.0
    prefill_watts: Positive

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.idle_watts <= self.floor_watts <= self.prefill_watts:
            raise ValueError("idle_watts <= floor_watts <= prefill_watts must hold")
        return self


class ProfileSection(Section):
    """An own profile, instead of the prior of accelerator and model size."""

    step: StepSection
    power: PowerSection
    kv_capacity_tokens: Positive


class ReplicaSection(Section):
    """One endpoint (see fleet.topology.Replica)."""

    address: str
    models: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None
    gpu_uuids: tuple[Name, ...] = ()
    namespace: Name | None = None
    pod: Name | None = None
    node: Name | None = None
    domain: Name | None = None

    @model_validator(mode="after")
    def _address_is_ip_and_port(self) -> Self:
        match = _ADDRESS.match(self.address)
        if not match or not 0 < int(match.group(3)) <= _MAX_PORT:
            raise ValueError(
                f"address must be IP:PORT, for example 10.0.0.7:8000, got {self.address!r}"
            )
        return self


class BackendSection(Section):
    """One backend (see fleet.topology.Backend)."""

    name: Name
    accelerator: Name
    parameters: Positive
    gpus_per_replica: Annotated[int, Field(gt=0)] = 1
    models: Annotated[tuple[Name, ...], Field(min_length=1)]
    domain: Name = "default"
    max_running_requests: Annotated[int, Field(gt=0)] = 256
    objective: ObjectiveSection = ObjectiveSection()
    profile: ProfileSection | None = None
    replicas: tuple[ReplicaSection, ...]

    @model_validator(mode="after")
    def _has_a_profile(self) -> Self:
        if self.profile is None and self.accelerator not in ACCELERATORS:
            raise ValueError(
                f"accelerator {self.accelerator!r} has no prior: use one of "
                f"{', '.join(ACCELERATORS)}, or give a profile"
            )
        return self


class FleetSection(Section):
    """A whole fleet file."""

    backends: Annotated[tuple[BackendSection, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _unique(self) -> Self:
        problems = [
            f"{what} {value!r} is used more than once"
            for what, values in (
                ("backend name", [backend.name for backend in self.backends]),
                ("address", [r.address for backend in self.backends for r in backend.replicas]),
                ("gpu_uuid", list(self._gpu_uuids())),
            )
            for value in _repeated(values)
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _gpu_uuids(self) -> Iterator[str]:
        for backend in self.backends:
            for replica in backend.replicas:
                yield from replica.gpu_uuids

    def absent_models(self) -> tuple[str, ...]:
        """Models of backends without replicas, scaled to zero, that no other backend serves."""
        declared = {model for backend in self.backends for model in backend.models}
        return tuple(sorted(declared.difference(self.to_fleet().models())))

    def to_fleet(self) -> Fleet:
        """As the pure value that deciders use."""
        return Fleet(tuple(_backend(section) for section in self.backends))


def load_fleet(path: Path) -> Fleet:
    """Read a fleet file.

    Raises:
        BadInputError: With every problem in it.
    """
    return load_model(path, FleetSection).to_fleet()


def _repeated(values: list[str]) -> list[str]:
    return sorted({value for value in values if values.count(value) > 1})


def _backend(section: BackendSection) -> Backend:
    return Backend(
        name=section.name,
        accelerator=section.accelerator,
        gpus_per_replica=section.gpus_per_replica,
        parameters=section.parameters,
        max_running_requests=section.max_running_requests,
        objective=Objective(**section.objective.model_dump()),
        profile=_profile(section),
        replicas=tuple(_replica(section, replica) for replica in section.replicas),
    )


def _replica(backend: BackendSection, section: ReplicaSection) -> Replica:
    return Replica(
        address=section.address,
        backend=backend.name,
        models=section.models or backend.models,
        gpu_uuids=section.gpu_uuids,
        namespace=section.namespace,
        pod=section.pod,
        node=section.node,
        domain=section.domain or backend.domain,
    )


def _profile(section: BackendSection) -> Profile:
    if section.profile is None:
        return prior_profile(
            section.accelerator,
            parameters=section.parameters,
            gpus_per_replica=section.gpus_per_replica,
        )
    given: dict[str, Any] = section.profile.model_dump()
    return Profile(
        step=StepTime(**given["step"]),
        power=PowerCurve(**given["power"]),
        kv_capacity_tokens=section.profile.kv_capacity_tokens,
        source="fleet file",
    )
