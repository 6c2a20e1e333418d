"""The cooling of all configurations: a control for each, made anew when block or key change."""

import asyncio
import logging
from dataclasses import dataclass

from capper.api.room_blocks import Cooling
from capper.cooling.adapter import CoolingAdapter, CoolingTrouble, DryRun
from capper.cooling.control import CoolingControl
from capper.cooling.http import HttpCooling
from capper.cooling.looks import CoolingLook, Room
from capper.secret_keys import NoSecrets, SecretError, Secrets
from fleet.clock import Clock

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Held:
    """A control, and what it was made of."""

    spec: Cooling
    token: str | None
    control: CoolingControl


class CoolingWatch:
    """The cooling side of the loop."""

    def __init__(self, clock: Clock, secrets: Secrets | None = None) -> None:
        """Know nobody yet."""
        self._clock = clock
        self._secrets = secrets or NoSecrets()
        self._held: dict[str, _Held] = {}
        self._problems: dict[str, str] = {}
        self._over = False

    async def look(self, name: str, cooling: Cooling | None, room: Room) -> CoolingLook:
        """Begin a step if one is due; what the last one did.

        Args:
            name: "namespace/name".
            cooling: Its block.
            room: As measured in this turn.
        """
        if cooling is None or self._over:
            await self.forget(name)
            return CoolingLook()
        try:
            control = await self._control(name, cooling)
        except SecretError as error:
            return self._without_key(name, cooling, str(error))
        self._problems.pop(name, None)
        if not room.enforce:
            await control.let_go()
        control.begin(room)
        return control.look

    def hold(self) -> None:
        """Somebody else may control from now on: nothing more is ordered, nothing taken back."""
        for one in self._held.values():
            one.control.hold()

    async def settle(self) -> None:
        """Wait for all steps in flight."""
        for one in self._held.values():
            await one.control.settle()

    async def forget(self, name: str) -> None:
        """A configuration has gone or has no cooling any more: the safe set-point is ordered."""
        held = self._held.pop(name, None)
        if held is not None:
            await held.control.let_go()
            await held.control.aclose()

    async def let_go(self) -> None:
        """The process that controls ends: safe set-points everywhere, at once and within bounds."""
        self._over = True
        await asyncio.gather(*(one.control.let_go() for one in self._held.values()))

    async def aclose(self) -> None:
        """Close all; what is set stays."""
        for held in self._held.values():
            await held.control.aclose()
        self._held.clear()

    async def _control(self, name: str, cooling: Cooling) -> CoolingControl:
        key = cooling.secret_ref
        token = None
        if key is not None:
            token = await self._secrets.read(name.partition("/")[0], key.name, key.key)
        held = self._held.get(name)
        if held is not None and (held.spec, held.token) == (cooling, token):
            return held.control
        if held is not None:
            # Its set-point stays: the next control reads it back and goes on from there.
            await held.control.aclose()
        adapter: CoolingAdapter = (
            DryRun() if cooling.adapter == "dry-run" else HttpCooling(cooling, token=token)
        )
        control = CoolingControl(name, cooling, adapter, self._clock)
        self._held[name] = _Held(cooling, token, control)
        return control

    def _without_key(self, name: str, cooling: Cooling, sentence: str) -> CoolingLook:
        """Without its key nothing can be ordered; the last control's set-point stays in force."""
        problem = f"cooling.secretRef: {sentence.removesuffix('.')}"
        if self._problems.get(name) != problem:
            _log.warning("%s: %s.", name, problem)
            self._problems[name] = problem
        return CoolingLook(
            active=True,
            adapter=cooling.adapter,
            problem=problem,
            failures={CoolingTrouble.SECRET.value: 1},
        )
