"""What the loop asks of those who measure; fulfilled over Prometheus and over the snapshot."""

from collections.abc import Mapping
from typing import Protocol

from capper.actuators.workloads import Workload
from capper.api.config import PowerCappingConfig
from capper.decide.observation import Observation
from capper.decide.policy import Policy


class Observer(Protocol):
    """Measures what one configuration speaks of.

    Attributes:
        problems: By name of the policy, one sentence for each query that gave nothing usable;
            read right after `observe`.
    """

    problems: Mapping[str, tuple[str, ...]]

    async def observe(
        self, config: PowerCappingConfig, policy: Policy, workloads: Mapping[str, Workload]
    ) -> Observation:
        """Watts of domains and targets; what is unknown is missing.

        Args:
            config: With its queries.
            policy: The same, translated; its refs are those of `workloads`.
            workloads: Those that could be read. A target that is left out of the answer gets its
                reading from here; one that is given must hold that reading's replicas.
        """
        ...
