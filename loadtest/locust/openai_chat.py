"""OpenAI chat traffic for Locust, with the lengths of Azure's conversation trace.

    locust -f loadtest/locust/openai_chat.py --headless --host http://127.0.0.1:10000 \
        --models llama-3.1-8b --traffic spike --most-users 50 --run-seconds 120

Besides Locust's own figures it reports TTFT and TPOT as requests of their own, and exits with 1
when a threshold is broken.
"""

import random
import time
from typing import Any

from locust import HttpUser, LoadTestShape, between, events, task

from loadtest.locust.shapes import SHAPES
from loadtest.prompts import text_of_tokens
from loadtest.stream_scan import StreamScan
from loadtest.traces.azure_conv import lengths

_NAME = "chat, streamed"
_MILLISECONDS = 1e3
_CHUNK_BYTES = None  # as they come


@events.init_command_line_parser.add_listener
def _add_arguments(parser: Any) -> None:
    group = parser.add_argument_group("OpenAI chat")
    group.add_argument("--models", default="llama-3.1-8b", help="names, separated by commas")
    group.add_argument("--traffic", choices=sorted(SHAPES), default="constant")
    group.add_argument("--most-users", type=int, default=20)
    group.add_argument("--run-seconds", type=float, default=60.0)
    group.add_argument("--most-prompt-tokens", type=int, default=8192)
    group.add_argument("--most-output-tokens", type=int, default=512)
    group.add_argument("--plain", action="store_true", help="do not stream")
    group.add_argument("--ttft-p95-ms", type=float, default=None, help="threshold")
    group.add_argument("--tpot-p95-ms", type=float, default=None, help="threshold")
    group.add_argument("--failed-ratio", type=float, default=0.01, help="threshold")


class Users(LoadTestShape):
    """As many users as the profile says, until the run is over."""

    def tick(self) -> tuple[int, float] | None:
        """(users, users per second), or None at the end; asked once a second."""
        assert self.runner is not None, "Locust sets it before it asks"
        options: Any = self.runner.environment.parsed_options
        at_seconds: float = self.get_run_time()
        if at_seconds >= options.run_seconds:
            return None
        users = SHAPES[options.traffic](at_seconds, options.run_seconds, options.most_users)
        return users, float(options.most_users)


class ChatUser(HttpUser):
    """Asks, reads the answer to its end, thinks for a moment, asks again."""

    wait_time = between(0.1, 0.5)

    def on_start(self) -> None:
        """Give every user draws of its own."""
        options: Any = self.environment.parsed_options
        self.draws = random.Random(id(self))  # noqa: S311 - a load, no secret
        self.models = [name.strip() for name in options.models.split(",")]

    @task
    def chat(self) -> None:
        """One conversation turn."""
        options: Any = self.environment.parsed_options
        prompt_tokens, output_tokens = lengths(self.draws)
        prompt_tokens = min(prompt_tokens, options.most_prompt_tokens)
        body = {
            "model": self.draws.choice(self.models),
            "messages": [
                {
                    "role": "user",
                    "content": text_of_tokens(prompt_tokens, salt=f"{self.draws.random()} "),
                }
            ],
            "max_tokens": max(1, min(output_tokens, options.most_output_tokens)),
        }
        if options.plain:
            self.client.post("/v1/chat/completions", json=body, name="chat")
        else:
            self._stream({**body, "stream": True, "stream_options": {"include_usage": True}})

    def _stream(self, body: dict[str, Any]) -> None:
        start = time.perf_counter()
        with self.client.post(
            "/v1/chat/completions",
            json=body,
            name=_NAME,
            stream=True,
            catch_response=True,
        ) as answer:
            if answer.status_code != 200:  # noqa: PLR2004 - OK
                answer.failure(f"{answer.status_code}: {answer.text[:200]}")
                return
            scan, first_seconds = StreamScan(), None
            for chunk in answer.iter_content(_CHUNK_BYTES):
                scan.feed(chunk)
                if first_seconds is None and scan.has_content:
                    first_seconds = time.perf_counter() - start
            whole_seconds = time.perf_counter() - start
            if scan.error_text is not None or not scan.is_done or first_seconds is None:
                answer.failure(scan.error_text or "the stream ended before its end")
                return
            answer.success()
        self._report("TTFT", first_seconds)
        tokens = scan.usage.output_tokens
        if tokens is not None and tokens > 1:
            self._report("TPOT", (whole_seconds - first_seconds) / (tokens - 1))

    def _report(self, name: str, seconds: float) -> None:
        self.environment.events.request.fire(
            request_type=name,
            name=_NAME,
            response_time=seconds * _MILLISECONDS,
            response_length=0,
            exception=None,
            context={},
        )


@events.quitting.add_listener
def _judge(environment: Any, **_others: Any) -> None:
    """Exit with 1 when a threshold was broken, and say which."""
    options, stats = environment.parsed_options, environment.stats
    broken = []
    if stats.total.num_requests == 0:
        broken.append("no request was made")
    if stats.total.fail_ratio > options.failed_ratio:
        broken.append(f"{stats.total.fail_ratio:.4f} of all failed, above {options.failed_ratio}")
    for name, limit in (("TTFT", options.ttft_p95_ms), ("TPOT", options.tpot_p95_ms)):
        if limit is not None:
            broken += _too_slow(name, limit, stats.entries.get((_NAME, name)))
    for sentence in broken:
        print(f"threshold: {sentence}")  # noqa: T201 - Locust's own summary is printed too
    if broken:
        environment.process_exit_code = 1


def _too_slow(name: str, limit_ms: float, entry: Any) -> list[str]:
    if entry is None:
        return [f"{name} was not measured"]
    p95_ms = entry.get_response_time_percentile(0.95)
    return [f"{name} p95 is {p95_ms:.0f} ms, above {limit_ms:g} ms"] if p95_ms > limit_ms else []
