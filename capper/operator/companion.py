"""Who goes along with the capping loop: told before it acts, and when a configuration ends."""

from typing import Protocol

from capper.decide.plan import Plan
from capper.decide.policy import Policy
from capper.operator.entry import Entry


class Companion(Protocol):
    """Does what belongs to a configuration besides bounds, prices and clocks."""

    async def before_acting(self, entry: Entry, policy: Policy, plan: Plan) -> None:
        """Called before a plan is carried out; must neither raise nor take long."""
        ...

    async def put_back(self, entry: Entry) -> None:
        """Take back what was done for a configuration that ends.

        Raises:
            RestoreError: Something is still there; to be tried again.
        """
        ...
