"""Lines of a text file, plain or gzip, one at a time."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from loadtest.traces.errors import TraceError

_GZIP_MAGIC = b"\x1f\x8b"
# A longer line is no trace (a prompt of a million tokens has 2,000 block ids), and a file without
# line ends must not be read into memory whole.
_LONGEST_LINE_CHARACTERS = 1 << 20


def text_lines(path: Path) -> Iterator[str]:
    """The lines with their ends. Gzip is told by its first bytes, whatever the name.

    Raises:
        TraceError: While iterating: the file cannot be read, is not UTF-8, is damaged or cut off,
            is named .gz and is not gzip, or has a line of more than a million characters.
    """
    number = 0
    try:
        with _opened(path) as file:
            while line := file.readline(_LONGEST_LINE_CHARACTERS):
                number += 1
                if len(line) == _LONGEST_LINE_CHARACTERS:
                    raise TraceError(
                        path, number, f"the line has {_LONGEST_LINE_CHARACTERS} characters or more"
                    )
                yield line
    except UnicodeDecodeError as error:
        raise TraceError(path, None, "is not UTF-8 text; CSV or JSON lines are needed") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise TraceError(path, None, f"the gzip data is damaged: {error}") from error
    except EOFError as error:
        raise TraceError(path, None, "the gzip data ends too early; the file is cut off") from error
    except OSError as error:
        raise TraceError(path, None, f"cannot be read: {error.strerror or error}") from error


def _opened(path: Path) -> TextIO:
    with path.open("rb") as file:
        packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    if packed:
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    if path.suffix == ".gz":
        raise TraceError(path, None, "is named .gz but is not gzip-compressed")
    return path.open(encoding="utf-8-sig", newline="")
