"""Keys of carbon providers and cooling managers: the interface to where they are kept."""

from typing import Protocol


class SecretError(Exception):
    """There is no such key; one sentence that never holds a value."""


class Secrets(Protocol):
    """Where keys come from."""

    async def read(self, namespace: str, name: str, key: str) -> str:
        """The text under `key` of the Secret `namespace`/`name`, without white space around it.

        Raises:
            SecretError: There is none that can be used.
        """
        ...


class NoSecrets:
    """Without a cluster there are none."""

    async def read(self, namespace: str, name: str, key: str) -> str:
        """Raise.

        Raises:
            SecretError: Always.
        """
        del namespace
        raise SecretError(
            f"Secret {name}, key {key}: there is no cluster to read it from; without secretRef "
            "keys come from the environment."
        )
