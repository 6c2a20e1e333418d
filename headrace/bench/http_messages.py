"""Where an HTTP/1.1 message ends, for the load generators and upstreams of the benchmarks."""

_END_OF_HEADERS = b"\r\n\r\n"
_LENGTH = b"content-length:"
_CHUNKED = b"transfer-encoding: chunked"
_LAST_CHUNK = b"0\r\n\r\n"
_OK = b"HTTP/1.1 200"


class MessageReader:
    """Finds the end of a message in what comes, and keeps nothing of its body.

    Attributes:
        head: First line and headers; empty until they are whole.
    """

    __slots__ = ("_began", "_missing_bytes", "_tail", "head")

    def __init__(self) -> None:
        self._began = b""
        self._missing_bytes: int | None = None  # None: the body is in chunks
        self._tail = b""
        self.head = b""

    @property
    def is_ok(self) -> bool:
        """Whether it is an answer of 200."""
        return self.head.startswith(_OK)

    def feed(self, data: bytes) -> bool:
        """Take what came; whether the message is whole now."""
        if not self.head:
            self._began += data
            head, end, data = self._began.partition(_END_OF_HEADERS)
            if not end:
                return False
            self._take_head(head)
        if self._missing_bytes is None:
            self._tail = (self._tail + data)[-len(_LAST_CHUNK) :]
            return self._tail == _LAST_CHUNK
        self._missing_bytes -= len(data)
        return self._missing_bytes <= 0

    def _take_head(self, head: bytes) -> None:
        self.head, self._began = head, b""
        lowered = head.lower()
        _, found, length = lowered.partition(_LENGTH)
        if found:
            self._missing_bytes = int(length.partition(b"\r")[0])
        elif _CHUNKED not in lowered:
            self._missing_bytes = 0


def answer(body: bytes, content_type: bytes = b"application/json") -> bytes:
    """A whole answer of 200."""
    return b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (
        content_type,
        len(body),
        body,
    )
