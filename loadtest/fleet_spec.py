"""What a simulated fleet consists of: read from JSON or written in Python, checked in one place."""

import hashlib
from pathlib import Path

import msgspec

from loadtest.engine_state import Limits
from loadtest.gpu_sensor import MAX_GAIN_ERROR_RATIO
from loadtest.truth import Truth, accelerators, models, truth_of
from loadtest.vllm_routes import ServerSettings


class SpecError(Exception):
    """A fleet description that cannot be simulated; the message names the field."""


class ReplicaSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One replica: one engine on one board.

    Attributes:
        name: Unique in the fleet.
        accelerator: One of `loadtest.truth.accelerators()`.
        models: Names it serves.
        adapters: LoRA adapters it serves.
        physics: Whose step times it has: one of `loadtest.truth.models()`.
        truth: Its physics outright, instead of the two names. In Python only.
        host: Address to listen on.
        port: 0 takes a free one.
        gpu_uuid: Its board; None makes one up from the name.
        node: The host it runs on; boards of one node share an exporter.
        pod: Kubernetes pod; None takes the name.
        namespace: Kubernetes namespace.
        max_model_len: Most tokens of prompt and answer together.
        max_num_seqs: Running requests at most.
        max_num_queued_reqs: Requests taken before 503; None: no limit.
        kv_capacity_tokens: Of its KV cache; None takes the board's own.
        enable_prefix_caching: Whether prompts are remembered.
        stream_interval: Tokens per event after the first.
    """

    name: str
    accelerator: str
    models: tuple[str, ...]
    adapters: tuple[str, ...] = ()
    physics: str = "llama-3.1-8b"
    truth: Truth | None = None
    host: str = "127.0.0.1"
    port: int = 0
    gpu_uuid: str | None = None
    node: str = "node-0"
    pod: str | None = None
    namespace: str = "default"
    max_model_len: int = 16_384
    max_num_seqs: int = 256
    max_num_queued_reqs: int | None = None
    kv_capacity_tokens: int | None = None
    enable_prefix_caching: bool = True
    stream_interval: int = 1

    @property
    def board_uuid(self) -> str:
        """The board's UUID, made up from the name when none is given."""
        if self.gpu_uuid is not None:
            return self.gpu_uuid
        digits = hashlib.blake2b(self.name.encode(), digest_size=16).hexdigest()
        groups = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
        return f"GPU-{'-'.join(groups)}"

    @property
    def pod_name(self) -> str:
        """The pod, by default called as the replica is."""
        return self.pod if self.pod is not None else self.name

    def settings(self) -> ServerSettings:
        """What its server is told.

        Raises:
            ValueError: When a limit is out of range.
        """
        return ServerSettings(
            models=self.models,
            adapters=self.adapters,
            host=self.host,
            port=self.port,
            max_model_len=self.max_model_len,
            max_num_queued_reqs=self.max_num_queued_reqs,
            stream_interval=self.stream_interval,
            limits=Limits(
                max_num_seqs=self.max_num_seqs,
                kv_capacity_tokens=self.kv_capacity_tokens,
                enable_prefix_caching=self.enable_prefix_caching,
            ),
        )

    def physics_truth(self) -> Truth:
        """The physics this replica has.

        Raises:
            KeyError: When a name is unknown.
        """
        return self.truth if self.truth is not None else truth_of(self.accelerator, self.physics)


class FleetSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Replicas and what they share.

    Attributes:
        replicas: At least one.
        time_scale: Simulated seconds per wall second.
        sensor_gain_spread_ratio: Largest gain error of a power sensor; 0 makes them exact.
        seed: Of the sensor gains.
        exporter_ports: Port by node; a node not named gets a free one.
        control_host: Where the control port of a fleet process listens.
        control_port: 0 takes a free one.
    """

    replicas: tuple[ReplicaSpec, ...]
    time_scale: float = 1.0
    sensor_gain_spread_ratio: float = MAX_GAIN_ERROR_RATIO
    seed: int = 0
    exporter_ports: dict[str, int] = {}
    control_host: str = "127.0.0.1"
    control_port: int = 0


def load_spec(path: Path) -> FleetSpec:
    """Read a fleet description.

    Raises:
        SpecError: When it cannot be read or is not such a description.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=FleetSpec)
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}.") from error
    except msgspec.DecodeError as error:
        raise SpecError(f"{path}: {error}.") from error


def check_spec(spec: FleetSpec) -> None:
    """Refuse what the types allow but the simulation cannot do.

    Raises:
        SpecError: Naming the first such field.
    """
    if not spec.replicas:
        raise SpecError("replicas: at least one is needed.")
    if not spec.time_scale > 0:
        raise SpecError(f"time_scale: must be positive, not {spec.time_scale}.")
    for field in ("name", "board_uuid"):
        values = [getattr(replica, field) for replica in spec.replicas]
        twice = {value for value in values if values.count(value) > 1}
        if twice:
            raise SpecError(f"replicas: {field} must be unique, given twice: {sorted(twice)}.")
    for number, replica in enumerate(spec.replicas):
        _check_replica(f"replicas[{number}]", replica)


def _check_replica(where: str, replica: ReplicaSpec) -> None:
    if replica.truth is None and replica.accelerator not in accelerators():
        known = ", ".join(accelerators())
        raise SpecError(f"{where}.accelerator: {replica.accelerator!r} is not one of {known}.")
    if replica.truth is None and replica.physics not in models():
        known = ", ".join(models())
        raise SpecError(f"{where}.physics: {replica.physics!r} is not one of {known}.")
    try:
        replica.settings()
    except ValueError as error:
        raise SpecError(f"{where}: {error}.") from error
