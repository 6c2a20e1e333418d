import asyncio
import contextlib
import json
import socket

import pytest
import uvloop
from aiohttp import web

from loadtest.arrivals import Arrival
from loadtest.client import ReplayOptions, replay
from loadtest.outcome import FailureKind, summarise
from loadtest.prompts import render_chat, text_prompt

REPLICA_HEADER = "x-headrace-replica"


class Endpoint:
    """An OpenAI endpoint of the test's own; the model's name says how it behaves."""

    def __init__(self):
        self.bodies = []
        self.running = 0
        self.most_running = 0
        self.gate = asyncio.Event()
        self.headers = []

    async def answer(self, request):
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(request.headers)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            return await getattr(self, "_" + body["model"])(request, body)
        finally:
            self.running -= 1

    async def _ok(self, request, body):
        if not body.get("stream"):
            return web.json_response(
                {"choices": [{"message": {"content": "all"}}], "usage": usage_of(body)},
                headers={REPLICA_HEADER: "r1"},
            )
        return await self._stream(request, events_of(body))

    async def _paced(self, request, body):
        return await self._stream(request, events_of(body), pause_seconds=0.03)

    async def _gated(self, request, body):
        await self.gate.wait()
        return await self._ok(request, body)

    async def _bytewise(self, request, body):
        return await self._stream(request, [bytes([byte]) for byte in b"".join(events_of(body))])

    async def _refusing(self, _request, _body):
        return web.json_response({"error": {"message": "no\nreplica"}}, status=503)

    async def _erring(self, request, body):
        error = event({"error": {"message": "out of memory", "code": 500}})
        return await self._stream(request, [*events_of(body)[:3], error, b"data: [DONE]\n\n"])

    async def _unfinished(self, request, body):
        return await self._stream(request, events_of(body)[:-1])

    async def _broken(self, request, body):
        response = await self._stream(request, events_of(body)[:3], end=False)
        request.transport.abort()
        return response

    async def _unconnected(self, request, _body):
        request.transport.abort()
        return web.Response()

    async def _hanging(self, request, body):
        events = events_of(body)
        response = await self._stream(request, events[:3], end=False)
        await self.gate.wait()
        await response.write(b"".join(events[3:]))
        await response.write_eof()
        return response

    async def _stream(self, request, pieces, *, pause_seconds=0.0, end=True):
        headers = {"content-type": "text/event-stream", REPLICA_HEADER: "r1"}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(pause_seconds)
        if end:
            await response.write_eof()
        return response

    async def quiet(self):
        async with asyncio.timeout(10):
            while self.running:
                await asyncio.sleep(0.01)


def event(body):
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def usage_of(body):
    turns = [(turn["role"], turn["content"]) for turn in body["messages"]]
    prompt_tokens = text_prompt(render_chat(turns)).tokens
    return {"prompt_tokens": prompt_tokens, "completion_tokens": body["max_tokens"]}


def events_of(body):
    role = {"choices": [{"delta": {"role": "assistant", "content": ""}}]}
    token = {"choices": [{"delta": {"content": " water"}}]}
    last = {"choices": [], "usage": usage_of(body)}
    return [
        event(role),
        *([event(token)] * body["max_tokens"]),
        event(last),
        b"data: [DONE]\n\n",
    ]


@contextlib.asynccontextmanager
async def listening():
    endpoint = Endpoint()
    app = web.Application(client_max_size=1 << 24)
    app.router.add_post("/v1/chat/completions", endpoint.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    endpoint.url = _url(runner.addresses[0])
    try:
        yield endpoint
    finally:
        await runner.cleanup()


def _url(address):
    return f"http://{address[0]}:{address[1]}"


@pytest.fixture
async def endpoint():
    async with listening() as found:
        yield found


def arrivals_of(model, *times, prompt_tokens=40, output_tokens=5):
    return [Arrival(at, prompt_tokens, output_tokens, model) for at in times]


async def test_every_stream_is_measured_from_start_to_first_and_last_token(endpoint):
    arrivals = arrivals_of("paced", *(0.02 * n for n in range(10)), output_tokens=6)
    outcomes = await replay(arrivals, base_url=endpoint.url)
    assert [o.index for o in outcomes] == list(range(10))
    assert [o.due_seconds for o in outcomes] == [a.at_seconds for a in arrivals]
    for outcome in outcomes:
        assert outcome.failure is None
        assert (outcome.status, outcome.replica) == (200, "r1")
        assert (outcome.output_tokens, outcome.counted_prompt_tokens) == (6, 40)
        assert outcome.schedule_lag_seconds >= 0
        assert 0 < outcome.ttft_seconds < outcome.e2e_seconds
        decode_seconds = outcome.e2e_seconds - outcome.ttft_seconds
        assert outcome.tpot_seconds * 5 == pytest.approx(decode_seconds)
        # The role event comes 30 ms before the first content, which ends the TTFT.
        assert outcome.ttft_seconds >= 0.03


async def test_requests_ask_for_exactly_the_wanted_lengths(endpoint):
    arrivals = [Arrival(0.0, 1, 0, "ok"), Arrival(0.0, 700, 9, "ok")]
    options = ReplayOptions(headers={"x-tenant": "t"})
    outcomes = await replay(arrivals, base_url=endpoint.url, options=options)
    assert [o.counted_prompt_tokens for o in outcomes] == [3, 700]
    short, long = sorted(endpoint.bodies, key=lambda body: body["max_tokens"])
    assert (short["max_tokens"], long["max_tokens"]) == (1, 9)
    for body in (short, long):
        assert body["ignore_eos"] is True
        assert body["stream"] is True
        assert body["stream_options"] == {"include_usage": True}
    assert {headers["x-tenant"] for headers in endpoint.headers} == {"t"}


async def test_prompts_differ_within_the_first_block_of_a_prefix_cache(endpoint):
    await replay(arrivals_of("ok", *[0.0] * 30), base_url=endpoint.url)
    starts = {body["messages"][0]["content"][:64] for body in endpoint.bodies}
    assert len(starts) == 30


async def test_the_callers_own_prompts_are_sent(endpoint):
    def prompt_for(tokens, seed):
        return f"{tokens} tokens, seed {seed}"

    options = ReplayOptions(seed=2)
    await replay(
        arrivals_of("ok", 0), base_url=endpoint.url, options=options, prompt_for=prompt_for
    )
    assert endpoint.bodies[0]["messages"][0]["content"] == f"40 tokens, seed {2 << 32}"


async def test_the_loop_is_open(endpoint):
    # None is answered before all have come: a closed loop or a connection limit would hang here.
    replaying = asyncio.create_task(
        replay(arrivals_of("gated", *[0.0] * 300), base_url=endpoint.url)
    )
    async with asyncio.timeout(30):
        while endpoint.running < 300:
            await asyncio.sleep(0.01)
    endpoint.gate.set()
    outcomes = await replaying
    assert summarise(outcomes).completed == endpoint.most_running == 300


async def test_a_stream_in_single_bytes_reads_the_same(endpoint):
    (outcome,) = await replay(arrivals_of("bytewise", 0.0), base_url=endpoint.url)
    assert (outcome.failure, outcome.output_tokens) == (None, 5)
    assert 0 < outcome.ttft_seconds < outcome.e2e_seconds


async def test_a_stream_longer_than_one_emptying_of_its_buffer_is_complete(endpoint):
    (outcome,) = await replay(arrivals_of("paced", 0.0, output_tokens=45), base_url=endpoint.url)
    assert outcome.e2e_seconds > 1.3
    assert (outcome.failure, outcome.output_tokens) == (None, 45)


@pytest.mark.parametrize(
    ("model", "kind", "status", "error"),
    [
        ("refusing", FailureKind.STATUS, 503, "no\\nreplica"),
        ("erring", FailureKind.STREAM_ERROR, 200, "out of memory"),
        ("unfinished", FailureKind.TRUNCATED, 200, "without [DONE]"),
        ("broken", FailureKind.TRUNCATED, 200, "ClientPayloadError"),
        ("unconnected", FailureKind.CONNECTION, None, "ServerDisconnectedError"),
    ],
)
async def test_each_failure_has_its_kind_and_spares_the_others(
    endpoint, model, kind, status, error
):
    arrivals = [*arrivals_of("ok", 0.0), *arrivals_of(model, 0.0), *arrivals_of("ok", 0.0)]
    before, failed, after = await replay(arrivals, base_url=endpoint.url)
    assert before.failure is after.failure is None
    assert (failed.failure, failed.status) == (kind, status)
    assert error in failed.error
    assert failed.tpot_seconds is None
    assert failed.e2e_seconds is None


async def test_nobody_listening_is_a_failed_connection():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refused
        (outcome,) = await replay(arrivals_of("ok", 0.0), base_url=_url(taken.getsockname()))
    assert (outcome.failure, outcome.status) == (FailureKind.CONNECTION, None)


async def test_a_share_of_the_requests_asks_for_one_body(endpoint):
    options = ReplayOptions(non_streamed_ratio=0.3, seed=1)
    arrivals = arrivals_of("ok", *[0.0] * 100)
    outcomes = await replay(arrivals, base_url=endpoint.url, options=options)
    whole = [o for o in outcomes if not o.streamed]
    assert 15 <= len(whole) <= 45
    assert len(whole) == sum("stream" not in body for body in endpoint.bodies)
    for outcome in whole:
        assert (outcome.failure, outcome.output_tokens, outcome.replica) == (None, 5, "r1")
        assert outcome.ttft_seconds is outcome.tpot_seconds is None
        assert outcome.e2e_seconds > 0


async def test_a_share_of_the_streams_hangs_up_after_the_first_token(endpoint):
    options = ReplayOptions(aborted_ratio=0.5, seed=3)
    arrivals = [*arrivals_of("hanging", *[0.0] * 20), *arrivals_of("ok", *[0.0] * 20)]
    replaying = asyncio.create_task(replay(arrivals, base_url=endpoint.url, options=options))
    async with asyncio.timeout(10):
        while len(endpoint.bodies) < 40:
            await asyncio.sleep(0.01)
    endpoint.gate.set()
    outcomes = await replaying
    assert summarise(outcomes).failed == 0
    aborted = [o for o in outcomes if o.aborted]
    assert 10 <= len(aborted) <= 30
    assert all(o.failure is None and o.ttft_seconds > 0 for o in aborted)
    assert all(o.output_tokens is o.tpot_seconds is o.e2e_seconds is None for o in aborted)
    await endpoint.quiet()


async def test_everybody_may_hang_up(endpoint):
    # The gate stays shut: only the hanging up of the client ends these streams.
    options = ReplayOptions(aborted_ratio=1.0)
    arrivals = arrivals_of("hanging", *[0.0] * 20)
    outcomes = await replay(arrivals, base_url=endpoint.url, options=options)
    assert summarise(outcomes).aborted == 20
    await endpoint.quiet()


async def test_the_same_seed_picks_the_same_requests(endpoint):
    options = ReplayOptions(aborted_ratio=0.4, non_streamed_ratio=0.4, seed=9)
    arrivals = arrivals_of("ok", *[0.0] * 30)
    runs = [await replay(arrivals, base_url=endpoint.url, options=options) for _ in range(2)]
    one, other = ([(o.streamed, o.aborted) for o in outcomes] for outcomes in runs)
    assert one == other
    assert len(set(one)) == 3


async def test_the_deadline_cuts_off_what_runs_and_starts_nothing_more(endpoint):
    arrivals = [*arrivals_of("ok", 0.0), *arrivals_of("hanging", 0.0, 60.0)]
    options = ReplayOptions(deadline_seconds=0.5)
    done, cut, unstarted = await replay(arrivals, base_url=endpoint.url, options=options)
    assert done.failure is None
    assert (cut.failure, cut.status) == (FailureKind.DEADLINE, 200)
    assert (unstarted.failure, unstarted.started_seconds) == (FailureKind.DEADLINE, None)
    await endpoint.quiet()
    assert len(endpoint.bodies) == 2


async def test_a_request_has_a_time_limit_of_its_own(endpoint):
    options = ReplayOptions(request_timeout_seconds=0.3)
    arrivals = [*arrivals_of("hanging", 0.0), *arrivals_of("ok", 0.5)]
    cut, later = await replay(arrivals, base_url=endpoint.url, options=options)
    assert (cut.failure, later.failure) == (FailureKind.TIMEOUT, None)
    await endpoint.quiet()


async def test_cancelling_hangs_up_on_everything_and_keeps_what_is_known(endpoint):
    known = []
    arrivals = [*arrivals_of("ok", 0.0), *arrivals_of("hanging", 0.0, 0.0), *arrivals_of("ok", 99)]
    replaying = asyncio.create_task(
        replay(arrivals, base_url=endpoint.url, on_outcome=known.append)
    )
    async with asyncio.timeout(10):
        while len(endpoint.bodies) < 3 or not known:
            await asyncio.sleep(0.01)
    replaying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await replaying
    await endpoint.quiet()
    assert [o.index for o in known] == [0]


async def test_each_outcome_is_told_once_as_it_becomes_known(endpoint):
    told = []
    arrivals = [*arrivals_of("paced", 0.0), *arrivals_of("ok", 0.0)]
    outcomes = await replay(arrivals, base_url=endpoint.url, on_outcome=told.append)
    assert told == [outcomes[1], outcomes[0]]


async def test_a_time_scale_keeps_everything_in_the_replays_seconds(endpoint):
    options = ReplayOptions(time_scale=10.0)
    arrivals = arrivals_of("paced", 0.0, 4.0, output_tokens=4)
    before_seconds = asyncio.get_running_loop().time()
    outcomes = await replay(arrivals, base_url=endpoint.url, options=options)
    wall_seconds = asyncio.get_running_loop().time() - before_seconds
    # Six pauses of 30 ms lie before the last event: 1.8 replay seconds and more.
    assert all(o.e2e_seconds > 1.8 and o.tpot_seconds > 0.3 for o in outcomes)
    assert outcomes[1].started_seconds >= 4.0
    assert summarise(outcomes).duration_seconds <= 10.0 * wall_seconds


async def test_arrivals_out_of_order_are_refused(endpoint):
    with pytest.raises(ValueError, match="not in order"):
        await replay(arrivals_of("ok", 1.0, 0.5), base_url=endpoint.url)


async def test_nothing_to_replay_is_done_at_once(endpoint):
    assert await replay([], base_url=endpoint.url) == []


def test_it_runs_on_uvloop():
    async def run():
        async with listening() as endpoint:
            arrivals = arrivals_of("paced", *(0.01 * n for n in range(20)))
            aborted = arrivals_of("hanging", 0.2)
            one = await replay(arrivals, base_url=endpoint.url)
            options = ReplayOptions(aborted_ratio=1.0)
            return [*one, *await replay(aborted, base_url=endpoint.url, options=options)]

    summary = summarise(uvloop.run(run()))
    assert (summary.completed, summary.aborted, summary.failed) == (20, 1, 0)
    # Nothing starts before it is due, though uvloop's timers are coarse.
    assert summary.schedule_lag_seconds.p50 >= 0
