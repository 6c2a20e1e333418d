"""Replays arrivals against an OpenAI endpoint and measures every answer, at little cost in CPU.

Open loop: a request starts when it is due, however many are still running. After the first content
a stream is not read event by event: the HTTP parser collects it, and the task looks again at its
end. 60 streams/s of 204 tokens cost .14 of a core that way (11 us per token, Python 3.11, uvloop).
"""

import asyncio
import itertools
import json
import random
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import aiohttp

from loadtest.arrivals import Arrival
from loadtest.openai_wire import LENGTH_HEADER
from loadtest.outcome import FailureKind, RequestOutcome
from loadtest.prompts import chat_content_of_tokens, render_chat, text_prompt
from loadtest.stream_scan import StreamScan, Usage, readable, usage_of

# While a stream runs its buffer is emptied this often, so that a slow one holds little memory.
_EMPTY_WALL_SECONDS = 1.0
# The reader pauses at twice this; a stream that fast (30,000 tokens/s) would be measured as slower.
_READ_BUFFER_BYTES = 1 << 22
_STATUS_OK = 200
_NO_USAGE = Usage(None, None)
_OPEN_FILES = 65_536
# A compressed stream would have to be inflated before it can be searched.
_HEADERS = {"content-type": "application/json", "accept-encoding": "identity"}
# One token beyond the chat template, so that no message is empty.
_LEAST_CHAT_TOKENS = text_prompt(render_chat([("user", "")])).tokens + 1

PromptFor = Callable[[int, int], str]
"""`prompt_for(tokens, seed)`: a prompt of about so many tokens, another one for every seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """How to replay. All seconds but `time_scale`'s are on the replay's clock.

    Attributes:
        time_scale: Replay seconds per wall second: with a server that runs 4 times faster than
            life, 4 keeps due times and measured latencies in the server's simulated seconds.
        deadline_seconds: When the replay ends at the latest: what still runs or waits then is
            reported as a failure. None: when the last answer ends.
        request_timeout_seconds: Limit of one request.
        non_streamed_ratio: Share of requests (0..1) that ask for one JSON body, drawn by `seed`.
        aborted_ratio: Share of the streamed ones (0..1) that hang up after the first token.
        seed: Of those draws and of the prompts.
        max_tokens: Asked for by every request, whose own length only a simulated engine is told
            (`loadtest.openai_wire.LENGTH_HEADER`), as in life, where no router knows it. None: each
            asks for exactly its length, with `ignore_eos`.
        headers: Sent with every request.
        replica_header: Response header that names the replica which served.
    """

    time_scale: float = 1.0
    deadline_seconds: float | None = None
    request_timeout_seconds: float = 600.0
    non_streamed_ratio: float = 0.0
    aborted_ratio: float = 0.0
    seed: int = 0
    max_tokens: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    replica_header: str = "x-headrace-replica"

    def __post_init__(self) -> None:
        """Refuse what no replay could mean.

        Raises:
            ValueError: A ratio is outside 0..1, or a duration or the scale is not above 0.
        """
        for name in ("non_streamed_ratio", "aborted_ratio"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}, it must be from 0 to 1")
        for name in ("time_scale", "deadline_seconds", "request_timeout_seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value}, it must be above 0")


def filler_prompt(tokens: int, seed: int) -> str:
    """A message that the simulated server counts as exactly `tokens`, at least 3.

    The seed comes first, so that two prompts differ within the first block of a prefix cache.
    """
    return chat_content_of_tokens(max(tokens, _LEAST_CHAT_TOKENS), salt=f"{seed:x} ")


async def replay(
    arrivals: Sequence[Arrival],
    *,
    base_url: str,
    options: ReplayOptions | None = None,
    prompt_for: PromptFor = filler_prompt,
    on_outcome: Callable[[RequestOutcome], None] | None = None,
) -> list[RequestOutcome]:
    """Send each arrival as a chat completion when it is due; wait for all answers.

    Answers never raise: what goes wrong is in the outcomes. Cancelling the call (Ctrl-C) hangs up
    on every running request, closes all connections and raises `asyncio.CancelledError`; outcomes
    known until then have gone to `on_outcome`. Raises the process's soft limit of open files, as
    thousands of streams may run at once.

    Args:
        arrivals: In order of `at_seconds`. An answer of 0 tokens is asked for as 1, the least
            that `max_tokens` allows.
        base_url: Scheme, host and port, without `/v1`.
        options: See `ReplayOptions`.
        prompt_for: Makes the prompts.
        on_outcome: Called once per arrival as soon as its outcome is known; it must not raise.

    Returns:
        One outcome per arrival, in their order.

    Raises:
        ValueError: The arrivals are not in order.
    """
    if any(b.at_seconds < a.at_seconds for a, b in itertools.pairwise(arrivals)):
        raise ValueError("the arrivals are not in order of at_seconds")
    options = options or ReplayOptions()
    _raise_open_file_limit()
    # limit=0: an open loop that queues for a connection would be a closed one.
    async with aiohttp.ClientSession(
        base_url,
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        read_bufsize=_READ_BUFFER_BYTES,
        headers={**options.headers, **_HEADERS},
    ) as session:
        run = _Replay(session, options, prompt_for, on_outcome)
        return await run.all(arrivals)


class _Mode(NamedTuple):
    """What is drawn for each request."""

    streamed: bool
    aborted: bool


def _modes(count: int, options: ReplayOptions) -> list[_Mode]:
    draws = random.Random(f"{options.seed}:modes")  # noqa: S311 - not for secrets
    modes = []
    for _ in range(count):
        streamed = draws.random() >= options.non_streamed_ratio
        aborted = draws.random() < options.aborted_ratio
        modes.append(_Mode(streamed, streamed and aborted))
    return modes


@dataclass(slots=True, kw_only=True)
class _Seen:
    """What is known so far of one request."""

    started_seconds: float | None = None
    first_content_seconds: float | None = None
    status: int | None = None
    replica: str | None = None
    aborted: bool = False
    usage: Usage = _NO_USAGE
    failure: FailureKind | None = None
    error: str | None = None

    def fail(self, kind: FailureKind, error: str) -> None:
        self.failure, self.error = kind, error


class _Replay:
    """One run: its session, its clock and its outcomes."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        options: ReplayOptions,
        prompt_for: PromptFor,
        on_outcome: Callable[[RequestOutcome], None] | None,
    ) -> None:
        self._session = session
        self._options = options
        self._prompt_for = prompt_for
        self._on_outcome = on_outcome
        self._outcomes: dict[int, RequestOutcome] = {}
        self._origin_wall_seconds = time.perf_counter()

    def _now_seconds(self) -> float:
        # Not the loop's time: uvloop's has a resolution of 1 ms.
        return (time.perf_counter() - self._origin_wall_seconds) * self._options.time_scale

    async def all(self, arrivals: Sequence[Arrival]) -> list[RequestOutcome]:
        modes = _modes(len(arrivals), self._options)
        self._origin_wall_seconds = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for index, (arrival, mode) in enumerate(zip(arrivals, modes, strict=True)):
                if await self._is_due(arrival.at_seconds):
                    tasks.create_task(self._one(index, arrival, mode))
                else:
                    seen = _Seen()
                    seen.fail(FailureKind.DEADLINE, "not started: the replay's deadline passed")
                    self._settle(index, arrival, mode, seen)
        return [self._outcomes[index] for index in range(len(arrivals))]

    async def _is_due(self, at_seconds: float) -> bool:
        """Wait until `at_seconds`, or the deadline: then False."""
        deadline_seconds = self._options.deadline_seconds
        until = at_seconds if deadline_seconds is None else min(at_seconds, deadline_seconds)
        # Again when woken early: uvloop's timers round to whole milliseconds.
        while (wait_seconds := until - self._now_seconds()) > 0:  # noqa: ASYNC110 - waits for time
            await asyncio.sleep(wait_seconds / self._options.time_scale)
        return deadline_seconds is None or self._now_seconds() < deadline_seconds

    async def _one(self, index: int, arrival: Arrival, mode: _Mode) -> None:
        seen = _Seen()
        body = self._body(index, arrival, streamed=mode.streamed)
        seen.started_seconds = self._now_seconds()
        limit_seconds = self._options.request_timeout_seconds
        if self._options.deadline_seconds is not None:
            left_seconds = self._options.deadline_seconds - seen.started_seconds
            limit_seconds = min(limit_seconds, left_seconds)
        try:
            async with asyncio.timeout(limit_seconds / self._options.time_scale):
                await self._exchange(body, self._headers(arrival), mode, seen)
        except aiohttp.ClientError as error:
            kind = FailureKind.CONNECTION if seen.status is None else FailureKind.TRUNCATED
            seen.fail(kind, f"{type(error).__name__}: {error}")
        except TimeoutError:
            if limit_seconds < self._options.request_timeout_seconds:
                seen.fail(FailureKind.DEADLINE, "cut off: the replay's deadline passed")
            else:
                seen.fail(FailureKind.TIMEOUT, f"no complete answer in {limit_seconds:g} s")
        self._settle(index, arrival, mode, seen)

    def _body(self, index: int, arrival: Arrival, *, streamed: bool) -> bytes:
        max_tokens = self._options.max_tokens
        prompt_seed = (self._options.seed << 32) | index
        prompt = self._prompt_for(arrival.prompt_tokens, prompt_seed)
        body: dict[str, object] = {
            "model": arrival.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": _length(arrival) if max_tokens is None else max_tokens,
            "ignore_eos": max_tokens is None,
        }
        if streamed:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return json.dumps(body).encode()

    def _headers(self, arrival: Arrival) -> dict[str, str]:
        if self._options.max_tokens is None:
            return {}
        return {LENGTH_HEADER: str(_length(arrival))}

    async def _exchange(
        self, body: bytes, headers: Mapping[str, str], mode: _Mode, seen: _Seen
    ) -> None:
        async with self._session.post(
            "/v1/chat/completions", data=body, headers=headers
        ) as response:
            seen.status = response.status
            seen.replica = response.headers.get(self._options.replica_header)
            if response.status != _STATUS_OK:
                seen.fail(FailureKind.STATUS, readable(await response.read()))
            elif not mode.streamed:
                seen.usage = usage_of(await response.read())
            else:
                await self._stream(response, mode, seen)

    async def _stream(self, response: aiohttp.ClientResponse, mode: _Mode, seen: _Seen) -> None:
        scan = StreamScan()
        while not scan.has_content and not response.content.at_eof():
            scan.feed(await response.content.readany())
        if scan.has_content:
            seen.first_content_seconds = self._now_seconds()
            if mode.aborted:
                seen.aborted = True
                response.close()
                return
        await _collect(response.content, scan)
        seen.usage = scan.usage
        if scan.error_text is not None:
            seen.fail(FailureKind.STREAM_ERROR, scan.error_text)
        elif not scan.is_done:
            seen.fail(FailureKind.TRUNCATED, "the stream ended without [DONE]")

    def _settle(self, index: int, arrival: Arrival, mode: _Mode, seen: _Seen) -> None:
        finished_seconds = None if seen.started_seconds is None else self._now_seconds()
        outcome = RequestOutcome(
            index=index,
            model=arrival.model,
            prompt_tokens=arrival.prompt_tokens,
            wanted_output_tokens=arrival.output_tokens,
            streamed=mode.streamed,
            aborted=seen.aborted,
            due_seconds=arrival.at_seconds,
            started_seconds=seen.started_seconds,
            finished_seconds=finished_seconds,
            status=seen.status,
            failure=seen.failure,
            error=seen.error,
            replica=seen.replica,
            ttft_seconds=_between(seen.started_seconds, seen.first_content_seconds),
            tpot_seconds=_tpot_seconds(seen, finished_seconds),
            output_tokens=seen.usage.output_tokens,
            counted_prompt_tokens=seen.usage.prompt_tokens,
        )
        self._outcomes[index] = outcome
        if self._on_outcome is not None:
            self._on_outcome(outcome)


def _length(arrival: Arrival) -> int:
    """Tokens to ask for: an answer has at least one."""
    return max(1, arrival.output_tokens)


async def _collect(content: aiohttp.StreamReader, scan: StreamScan) -> None:
    """Feed the rest of a body to `scan` without waking up for each of its events."""
    while not content.at_eof():
        with suppress(TimeoutError):
            async with asyncio.timeout(_EMPTY_WALL_SECONDS):
                await content.wait_eof()
        scan.feed(content.read_nowait())


def _between(start_seconds: float | None, end_seconds: float | None) -> float | None:
    if start_seconds is None or end_seconds is None:
        return None
    return end_seconds - start_seconds


def _tpot_seconds(seen: _Seen, finished_seconds: float | None) -> float | None:
    """The end of the answer stands for the last token: usage and `[DONE]` follow it at once."""
    steps = (seen.usage.output_tokens or 0) - 1
    decode_seconds = _between(seen.first_content_seconds, finished_seconds)
    if seen.failure is not None or decode_seconds is None or steps < 1:
        return None
    return decode_seconds / steps


def _raise_open_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
