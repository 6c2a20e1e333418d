"""Every number of the decision that an operator may change, with the reason for its default."""

from dataclasses import dataclass, field

from fleet.signals import FreshnessPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class DecideSettings:
    """Settings of the decision.

    Attributes:
        policy: Name of the picking policy (see router.decide.policies).
        freshness: When a signal stops counting.
        kv_limit_ratio: Predicted KV use beyond which a replica is full. vLLM preempts at 1.
        swing_deviations: Standard deviations of prefill interference that must fit below the TPOT
            limit at a replica's operating point B*, for which sets are planned.
        burst_life_ratio: The TPOT guard adds up the prompts that a replica was sent over this part
            of a mean answer's life (at the objective). Shorter refuses more, longer lets short
            answers miss (docs/decisions/0012-guard-on-inflow.md).
        default_output_tokens: Answer length assumed of a model before its counters tell.
        default_bytes_per_token: Prompt bytes per token before calibration; English text in JSON
            under common BPE vocabularies lies at 4 to 4.5.
        rate_window_seconds: Time constant of the arrival-rate estimate. Long enough that a
            Poisson stream of 10/s is known to 7 %, short enough to follow a diurnal slope.
        length_window_seconds: Time constant of prompt and answer length estimates.
        reserve_deviations: Standard deviations of the load, measured and at least Poisson, for
            which committed replicas keep room. Beyond it dispatch opens replicas by itself.
        commit_gain_ratio: Part of the dynamic power a new set must save to replace the old one.
        commit_dwell_seconds: How long it must keep promising that. With the gain above it is what
            stops the set from flapping on the noise of the rate estimate.
        retry_after_seconds: Told to callers that are refused for lack of a replica.
        max_endpoints: Endpoints named with each pick, fallbacks included. Three survive a dead
            replica and a dead rack; Envoy tries them one after the other.
        hold_when_full: Refuse with FULL, for the caller to let the request wait, when no replica
            has a batch slot and KV room; else the least late replica queues it.
        stall_chance: A replica is taken as stalled when a gap between its answers as long as this
            one would come by chance less often (docs/decisions/0013-stalled-replicas.md); 0: never.
        stall_min_seconds: No shorter gap counts, whatever the chance: two scrapes, which
            mostly show by then whether anything is written.
        affinity: Whether cached prompts, sessions and loaded adapters count (docs/affinity.md).
        affinity_blocks: Prompt blocks remembered of all replicas together, each prompt counting as
            12 more, in about 50 bytes each.
        affinity_sessions: Sessions remembered; the longest unseen is forgotten first.
        session_idle_seconds: A session unseen for so long starts anew.
        adapter_load_seconds: What an engine takes to load a LoRA adapter that it does not have in
            GPU memory. Assumed, not measured: about 100 MB from a disk.
    """

    policy: str = "dispatch"
    freshness: FreshnessPolicy = field(default_factory=FreshnessPolicy)
    kv_limit_ratio: float = 0.9
    swing_deviations: float = 1.0
    burst_life_ratio: float = 0.18
    default_output_tokens: float = 256.0
    default_bytes_per_token: float = 4.2
    rate_window_seconds: float = 20.0
    length_window_seconds: float = 60.0
    reserve_deviations: float = 1.5
    commit_gain_ratio: float = 0.05
    commit_dwell_seconds: float = 10.0
    retry_after_seconds: float = 5.0
    max_endpoints: int = 3
    hold_when_full: bool = False
    stall_chance: float = 1e-6
    stall_min_seconds: float = 2.0
    affinity: bool = True
    affinity_blocks: int = 400_000
    affinity_sessions: int = 100_000
    session_idle_seconds: float = 1800.0
    adapter_load_seconds: float = 0.3
