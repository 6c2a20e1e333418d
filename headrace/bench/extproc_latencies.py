"""What Envoy itself says that ext_proc added to each request, from an access log.

Envoy keeps per request how long it waited for the answer to the headers and to each message of the
body. Buffered, the body is sent when the headers are answered, so the two add up. In full duplex
the waits overlap, so the longest of the request's and the longest of the response's are added: a
little less than the truth.
"""

import asyncio
from pathlib import Path
from typing import Any

from headrace.bench.lanes import EXT_PROC_FILTER
from headrace.envoy_plan import EnvoyBodyMode

FLUSH_SECONDS = 0.1
"""How often Envoy writes its log, see `EnvoyOptions.file_flush_seconds`."""

_FIELDS = (
    "request_header_latency_us",
    "request_body_max_latency_us",
    "response_header_latency_us",
    "response_body_max_latency_us",
)
_LINE = " ".join(f"%FILTER_STATE({EXT_PROC_FILTER}:FIELD:{name})%" for name in _FIELDS) + "\n"
_ABSENT = "-"
_MICROSECONDS = 1e6
_WAIT_SECONDS = 3.0
_POLL_SECONDS = 0.02


def log_only_latencies(bootstrap: dict[str, Any]) -> None:
    """Have every file access log of a bootstrap hold a line of these latencies per request."""
    for listener in bootstrap["static_resources"]["listeners"]:
        for chain in listener["filter_chains"]:
            for network_filter in chain["filters"]:
                for log in network_filter["typed_config"]["access_log"]:
                    log["typed_config"]["log_format"] = {
                        "text_format_source": {"inline_string": _LINE}
                    }


def parsed(text: str, mode: EnvoyBodyMode) -> list[float]:
    """Seconds per request, of the lines that tell any."""
    found = []
    for line in text.splitlines():
        values = line.split()
        if values[0] == _ABSENT:
            continue
        waits = [0.0 if it == _ABSENT else float(it) / _MICROSECONDS for it in values]
        headers, body, response_headers, response_body = waits
        if mode is EnvoyBodyMode.BUFFERED:
            found.append(headers + body)
        else:
            found.append(max(headers, body) + max(response_headers, response_body))
    return found


class LatencyLog:
    """Reads what has come to a log since the last look."""

    def __init__(self, path: Path, mode: EnvoyBodyMode) -> None:
        self._path, self._mode, self._offset = path, mode, 0

    async def take(self, lines: int) -> list[float]:
        """The latencies of the next `lines` requests, or of those that come in three seconds."""
        text = b""
        for _ in range(int(_WAIT_SECONDS / _POLL_SECONDS)):
            with self._path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
            if text.count(b"\n") >= lines:
                break
            await asyncio.sleep(_POLL_SECONDS)
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        return parsed(whole.decode("ascii"), self._mode)
