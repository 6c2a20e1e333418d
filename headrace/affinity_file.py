"""The serve file's section of affinity: what is remembered of prompts, sessions and adapters."""

from typing import Annotated, Any

from pydantic import Field

from headrace.fleet_file import NonNegative, Positive, Section
from router.decide.settings import DecideSettings
from router.kv_event_settings import KvEventSettings

_DEFAULTS = DecideSettings()
_EVENTS = KvEventSettings()
_Count = Annotated[int, Field(ge=1)]
_Port = Annotated[int, Field(ge=1, le=65535)]


class KvEventsSection(Section):
    """KV events of vLLM engines (see router.kv_event_settings.KvEventSettings)."""

    port: _Port = _EVENTS.port
    replay_port: _Port | None = _EVENTS.replay_port
    topic: str = _EVENTS.topic
    replay_timeout_seconds: Positive = _EVENTS.replay_timeout_seconds

    def settings(self) -> KvEventSettings:
        """As the listener takes them."""
        return KvEventSettings(**self.model_dump())


class AffinitySection(Section):
    """Where prompts, sessions and adapters are (see router.decide.settings.DecideSettings)."""

    enabled: bool = _DEFAULTS.affinity
    max_blocks: _Count = _DEFAULTS.affinity_blocks
    max_sessions: _Count = _DEFAULTS.affinity_sessions
    session_idle_seconds: Positive = _DEFAULTS.session_idle_seconds
    adapter_load_seconds: NonNegative = _DEFAULTS.adapter_load_seconds
    kv_events: KvEventsSection | None = None

    def decide_fields(self) -> dict[str, Any]:
        """Their part of DecideSettings."""
        return {
            "affinity": self.enabled,
            "affinity_blocks": self.max_blocks,
            "affinity_sessions": self.max_sessions,
            "session_idle_seconds": self.session_idle_seconds,
            "adapter_load_seconds": self.adapter_load_seconds,
        }
