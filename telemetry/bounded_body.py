"""Bodies of HTTP answers, of which somebody else decides how long they are."""

import aiohttp

_CHUNK_BYTES = 65536


async def bounded_body(answer: aiohttp.ClientResponse, *, max_bytes: int) -> bytes:
    """The body, or a little more than `max_bytes` of a longer one.

    Raises:
        TimeoutError, aiohttp.ClientError, OSError: The server's doing.
    """
    chunks: list[bytes] = []
    length_bytes = 0
    async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
        chunks.append(chunk)
        length_bytes += len(chunk)
        if length_bytes > max_bytes:
            answer.close()  # the rest is not read, so the connection is of no more use
            break
    return b"".join(chunks)
