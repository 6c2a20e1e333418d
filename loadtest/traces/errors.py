"""The one error of all trace readers."""

from pathlib import Path

_SHOWN_CHARACTERS = 80


class TraceError(ValueError):
    """The trace cannot be used; the message names the file, the line and what is allowed.

    Attributes:
        path: The file.
        line: Counted from 1; None when the file as a whole is meant.
    """

    def __init__(self, path: Path, line: int | None, problem: str) -> None:
        """Compose the sentence."""
        super().__init__(f"{path}: {problem}" if line is None else f"{path}:{line}: {problem}")
        self.path = path
        self.line = line


def shown(text: str) -> str:
    """A wrong value as a message quotes it: one line, not too long."""
    return repr(text[:_SHOWN_CHARACTERS])
