"""What Envoy makes of a picker's replies: headers, body and metadata of one direction. Pure."""

from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import Any

from google.protobuf.json_format import MessageToDict

from headrace.conformance.verdicts import CaseFailedError
from headrace.conformance.wire import DESTINATION, DESTINATION_NAMESPACE, BodyMode, Headers


class Side(Enum):
    """The two directions, by the prefix of their messages."""

    REQUEST = "request"
    RESPONSE = "response"


class Half:
    """One direction of an exchange under the replies that have come.

    A reply that Envoy would not take where it comes is a failure: Envoy ends the request with an
    error for it ("spurious message"), or drops what it says.

    Attributes:
        immediate: The ImmediateResponse, or None.
        headers: As they would be forwarded.
        body: As it would be forwarded.
        chunk_bytes: Sizes of the streamed chunks that came.
        ended: Whether a streamed chunk carried the end of the stream.
        metadata: Dynamic metadata, by namespace.
        destination_options: The header options that set the destination, as they came.
    """

    def __init__(
        self, side: Side, *, mode: BodyMode, headers: Headers, body: bool, trailers: bool
    ) -> None:
        """Begin before any reply.

        Args:
            side: The direction.
            mode: Of its body; NONE when none is shown.
            headers: As sent.
            body: Whether a body follows the headers.
            trailers: Whether trailers follow it.
        """
        self.immediate: Any = None
        self.headers = list(headers)
        self.body = bytearray()
        self.chunk_bytes: list[int] = []
        self.ended = False
        self.metadata: dict[str, Any] = {}
        self.destination_options: list[Any] = []
        self._side = side.value
        self._mode = mode if body else BodyMode.NONE
        self._trailers = trailers and self._mode is BodyMode.FULL_DUPLEX
        self._pending: deque[bytes] = deque()
        self._expected_bodies = 0
        self.headers_answered = False
        self._trailers_answered = False

    def sent_body(self, body: bytes) -> None:
        """Note a piece of body that was sent and, but when duplex, is to be answered in kind."""
        if self._mode is not BodyMode.FULL_DUPLEX:
            self._pending.append(body)

    @property
    def complete(self) -> bool:
        """Whether all that was sent is answered."""
        if self.immediate is not None:
            return True
        if not self.headers_answered:
            return False
        if self._mode is BodyMode.FULL_DUPLEX:
            return self._trailers_answered if self._trailers else self.ended
        return not self._pending

    @property
    def awaited(self) -> str:
        """What should come next, for a sentence."""
        if not self.headers_answered:
            return f"a reply to the {self._side} headers"
        if self._trailers and not self._trailers_answered:
            return f"the body and a reply to the {self._side} trailers"
        if self._mode is BodyMode.FULL_DUPLEX:
            return f"the {self._side} body up to its end of stream"
        return f"a reply to the {self._side} body"

    def take(self, reply: Any) -> None:
        """Take a reply.

        Raises:
            CaseFailedError: When Envoy would not take it.
        """
        kind = reply.WhichOneof("response")
        if reply.HasField("dynamic_metadata"):
            self.metadata.update(MessageToDict(reply.dynamic_metadata))
        if kind == "immediate_response":
            self.immediate = reply.immediate_response
        elif kind == f"{self._side}_headers":
            self._take_headers(reply.request_headers if self._asks else reply.response_headers)
        elif kind == f"{self._side}_body":
            self._take_body(reply.request_body if self._asks else reply.response_body)
        elif kind == f"{self._side}_trailers":
            self._take_trailers()
        elif kind is not None or not reply.HasField("override_message_timeout"):
            raise CaseFailedError(f"An unexpected {kind or 'empty'} message came.")

    @property
    def _asks(self) -> bool:
        return self._side == Side.REQUEST.value

    def _take_headers(self, reply: Any) -> None:
        if self.headers_answered:
            raise CaseFailedError(f"A second reply to the {self._side} headers came.")
        self.headers_answered = True
        self._apply(reply.response.header_mutation)

    def _take_body(self, reply: Any) -> None:
        if not self.headers_answered:
            raise CaseFailedError(
                f"A reply to the {self._side} body came before the one to its headers."
            )
        if self._mode is BodyMode.FULL_DUPLEX:
            self._take_streamed(reply.response.body_mutation)
            return
        mutation = reply.response.body_mutation
        if mutation.HasField("streamed_response"):
            raise CaseFailedError(f"A streamed_response came in the body mode {self._mode}.")
        if not self._pending:
            raise CaseFailedError(f"A reply came to a {self._side} body that was not sent.")
        sent = self._pending.popleft()
        if self._mode is BodyMode.BUFFERED:  # the only mode in which headers still wait
            self._apply(reply.response.header_mutation)
        kind = mutation.WhichOneof("mutation")
        changed = {"body": mutation.body, "clear_body": b"" if mutation.clear_body else sent}
        self.body += changed.get(kind, sent)

    def _take_streamed(self, mutation: Any) -> None:
        if not mutation.HasField("streamed_response"):
            raise CaseFailedError(
                f"A reply to the {self._side} body came without streamed_response, "
                "which loses the body."
            )
        if self.ended:
            raise CaseFailedError(f"A {self._side} body chunk came after the end of stream.")
        streamed = mutation.streamed_response
        if streamed.end_of_stream and self._trailers:
            raise CaseFailedError(
                f"The {self._side} body was ended by end_of_stream while its trailers follow."
            )
        self.body += streamed.body
        self.chunk_bytes.append(len(streamed.body))
        self.ended = streamed.end_of_stream

    def _take_trailers(self) -> None:
        if not self._trailers:
            raise CaseFailedError(f"A reply came to {self._side} trailers that were not sent.")
        if self._trailers_answered:
            raise CaseFailedError(f"A second reply to the {self._side} trailers came.")
        if not self.headers_answered:
            raise CaseFailedError(
                f"A reply to the {self._side} trailers came before the one to its headers."
            )
        self._trailers_answered = True

    def _apply(self, mutation: Any) -> None:
        """Removals first, then settings; `append` counts, and append_action is not looked at."""
        removed = {name.lower() for name in mutation.remove_headers}
        self.headers = [pair for pair in self.headers if pair[0] not in removed]
        for option in mutation.set_headers:
            name = option.header.key.lower()
            if name == DESTINATION:
                self.destination_options.append(option)
            if not option.append.value:
                self.headers = [pair for pair in self.headers if pair[0] != name]
            self.headers.append((name, _value(option.header)))

    # The pick

    def header_destinations(self) -> list[str]:
        """Values of the destination header, as they would be forwarded."""
        return [value for name, value in self.headers if name == DESTINATION]

    def metadata_destination(self) -> Any:
        """The destination in the dynamic metadata, of any type, or None."""
        namespace = self.metadata.get(DESTINATION_NAMESPACE)
        return namespace.get(DESTINATION) if isinstance(namespace, dict) else None

    def endpoints(self) -> tuple[str, ...]:
        """The picked endpoints, best first; empty without a pick."""
        return tuple(self._endpoints())

    def _endpoints(self) -> Iterator[str]:
        for value in self.header_destinations():
            yield from (part.strip() for part in value.split(",") if part.strip())


def _value(header: Any) -> str:
    text: str = header.raw_value.decode("utf-8", "replace") or header.value
    return text
