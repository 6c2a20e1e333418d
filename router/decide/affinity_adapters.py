"""Which LoRA adapters each replica has in its GPU memory, and what it takes to load another. Pure.

An engine names the adapters of its running and waiting requests; an idle one names none, though
its adapters are still there. So what was seen or sent there last is remembered, as many as fit.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from fleet.adapters import LoadedAdapters

_NOBODY: frozenset[str] = frozenset()

# vLLM's --max-loras where the engine does not say.
_DEFAULT_SLOTS = 1


class AdapterSlots:
    """One replica's adapters.

    Attributes:
        slots: How many fit at once.
        busy: Those with running requests as of the last scrape; they cannot be put out.
    """

    __slots__ = ("_address", "_holders", "_loaded", "_seen_seconds", "busy", "slots")

    def __init__(self, address: str, holders: dict[str, set[str]]) -> None:
        """Nothing is known of it.

        Args:
            address: The replica's.
            holders: Where it says which adapters it has loaded, by name.
        """
        self._address = address
        self._holders = holders
        self.slots = _DEFAULT_SLOTS
        self.busy: frozenset[str] = frozenset()
        self._loaded: OrderedDict[str, None] = OrderedDict()
        self._seen_seconds: float | None = None

    def __len__(self) -> int:
        """Adapters believed to be loaded."""
        return len(self._loaded)

    def observe(self, adapters: LoadedAdapters) -> None:
        """The engine names its adapters; the same reading twice changes nothing."""
        if adapters.observed_seconds == self._seen_seconds:
            return
        self._seen_seconds = adapters.observed_seconds
        self.slots = max(1, adapters.max_adapters or self.slots, len(adapters.running))
        self.busy = adapters.running
        for name in sorted(adapters.waiting) + sorted(adapters.running):
            self.use(name)

    def use(self, name: str) -> None:
        """A request for an adapter was sent here."""
        self._loaded[name] = None
        self._loaded.move_to_end(name)
        self._holders.setdefault(name, set()).add(self._address)
        while len(self._loaded) > self.slots:
            self._leave(self._loaded.popitem(last=False)[0])

    def clear(self) -> None:
        """Nothing is loaded any more."""
        while self._loaded:
            self._leave(self._loaded.popitem()[0])

    def _leave(self, name: str) -> None:
        holders = self._holders[name]
        holders.discard(self._address)
        if not holders:
            del self._holders[name]

    def has(self, name: str) -> bool:
        """Whether an adapter is believed to be loaded."""
        return name in self._loaded

    def full(self) -> bool:
        """Whether all slots are held by running requests, so that a load must wait."""
        return len(self.busy) >= self.slots


class Adapters:
    """All replicas' adapters. A model name is an adapter's once an engine has named it so."""

    __slots__ = ("_holders", "_names", "_replicas")

    def __init__(self) -> None:
        """Without replicas."""
        self._replicas: dict[str, AdapterSlots] = {}
        self._holders: dict[str, set[str]] = {}
        self._names: set[str] = set()

    def keep_only(self, addresses: frozenset[str], models: Iterable[str]) -> None:
        """Forget replicas and names that are gone."""
        for address in self._replicas.keys() - addresses:
            self._replicas[address].clear()
        self._replicas = {
            address: self._replicas.get(address) or AdapterSlots(address, self._holders)
            for address in addresses
        }
        self._names &= set(models)

    def observe(self, adapters: Mapping[str, LoadedAdapters], models: Iterable[str]) -> None:
        """Take in a snapshot's adapters; only names that the fleet serves are kept."""
        for address, loaded in adapters.items():
            if address in self._replicas:
                self._replicas[address].observe(loaded)
                self._names |= loaded.running | loaded.waiting
        self._names &= set(models)

    def forget(self, address: str) -> None:
        """A replica restarted."""
        self._replicas[address].clear()
        self._replicas[address] = AdapterSlots(address, self._holders)

    def use(self, address: str, model: str) -> None:
        """A request was sent there."""
        if model in self._names:
            self._replicas[address].use(model)

    def loaded(self, model: str) -> AbstractSet[str]:
        """Replicas that are believed to have an adapter loaded."""
        return self._holders.get(model, _NOBODY)

    def names(self, model: str) -> bool:
        """Whether a model name is an adapter's."""
        return model in self._names

    def load_seconds(
        self, address: str, model: str, *, load_seconds: float, wait_seconds: float
    ) -> float:
        """What a request of `model` waits for its adapter; 0 for base models and loaded ones.

        Args:
            address: The replica.
            model: Name asked for.
            load_seconds: A load takes this.
            wait_seconds: Until a running request leaves, when all slots are held.
        """
        if model not in self._names or self._replicas[address].has(model):
            return 0.0
        return load_seconds + (wait_seconds if self._replicas[address].full() else 0.0)
