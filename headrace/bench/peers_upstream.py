"""An upstream that answers at once and says what routers ask a vLLM, for `headrace bench peers`.

Run as a process of its own, as extproc_upstream: prints its addresses as one line of JSON and
serves until it is ended. The answer is a whole one, as routers that convert answers expect.
"""

import json
import sys
from typing import Any

import uvloop

from headrace.bench.extproc_load import MODEL
from headrace.bench.extproc_upstream import Upstream, serve
from headrace.bench.http_messages import answer


def _answer(document: dict[str, Any]) -> bytes:
    return answer(json.dumps(document).encode())


_COMPLETION = _answer(
    {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "All work and no play."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 16, "completion_tokens": 6, "total_tokens": 22},
    }
)
_MODELS = _answer(
    {
        "object": "list",
        "data": [
            {
                "id": MODEL,
                "object": "model",
                "created": 1,
                "owned_by": "vllm",
                "root": MODEL,
                "max_model_len": 131_072,
            }
        ],
    }
)
_HEALTH = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
_VERSION = _answer({"version": "0.11.0"})
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
_DOCUMENTS = {b"/v1/models": _MODELS, b"/health": _HEALTH, b"/version": _VERSION}


class _Replica(Upstream):
    """One connection."""

    def answer(self, _head: bytes) -> None:
        self.transport.write(_COMPLETION)

    def document(self, head: bytes) -> bytes:
        return _DOCUMENTS.get(head.split(b" ", 2)[1], _NOT_FOUND)


if __name__ == "__main__":
    uvloop.run(serve([_Replica] * int(sys.argv[1])))
