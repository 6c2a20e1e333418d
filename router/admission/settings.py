"""Every number of admission that an operator may change, with the reason for its default."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionSettings:
    """How requests wait.

    Attributes:
        max_waiting_requests: 0 turns waiting off: what would wait is refused. An open stream costs
            about 25 KB, so a thousand are cheap; it is clients that will not wait for more.
        max_waiting_bytes: Bodies held. Prompts of 64 KiB at a thousand requests.
        max_wait_seconds: Deadline of each. A replica that must be scheduled and must load its
            weights takes minutes; people do not wait that long, batch clients retry.
        quantum_tokens: What a tenant is given per turn: a small request.
        min_retry_after_seconds: Least told to refused callers.
        max_retry_after_seconds: Most; also told when no rate can be predicted.
        retry_jitter_ratio: Callers are told up to this much more, so that they do not all come
            back at once.
        extend_gateway_timeout: Tell Envoy how long an answer may take when a request waits.
    """

    max_waiting_requests: int = 1000
    max_waiting_bytes: int = 64 * 2**20
    max_wait_seconds: float = 60.0
    quantum_tokens: int = 512
    min_retry_after_seconds: float = 1.0
    max_retry_after_seconds: float = 60.0
    retry_jitter_ratio: float = 0.25
    extend_gateway_timeout: bool = True
