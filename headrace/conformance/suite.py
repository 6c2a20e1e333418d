"""Runs cases, one after the other, against one picker."""

import time
from collections.abc import Callable, Iterator, Sequence

import grpc

from headrace.conformance import (
    cases_body,
    cases_duplex,
    cases_errors,
    cases_health,
    cases_pick,
    cases_response,
    cases_robustness,
    cases_subset,
)
from headrace.conformance.case import Case
from headrace.conformance.lab import Findings, Lab, Settings, immediate_text
from headrace.conformance.verdicts import (
    CaseFailedError,
    CaseResult,
    CaseSkippedError,
    Level,
    Verdict,
)
from headrace.conformance.wire import BodyMode

CASES: tuple[Case, ...] = (
    *cases_pick.CASES,
    *cases_subset.CASES,
    *cases_body.CASES,
    *cases_duplex.CASES,
    *cases_response.CASES,
    *cases_errors.CASES,
    *cases_health.CASES,
    *cases_robustness.CASES,
)


async def run_suite(
    channel: grpc.aio.Channel,
    *,
    modes: Sequence[BodyMode],
    settings: Settings,
    health_channel: grpc.aio.Channel | None = None,
    cases: Sequence[Case] = CASES,
    told: Callable[[str], object] | None = None,
) -> list[CaseResult]:
    """Run each case in each of the modes that it knows.

    Args:
        channel: To the picker.
        modes: FULL_DUPLEX, BUFFERED or both.
        settings: How hard to try.
        health_channel: To its health service when that has a port of its own.
        cases: Which.
        told: Called with the name of each case as it begins.
    """
    findings = Findings()
    results = []
    for case, mode in _runs(cases, modes):
        lab = Lab(
            channel=channel,
            health_channel=health_channel or channel,
            settings=settings,
            mode=mode or modes[0],
            findings=findings,
        )
        if told is not None:
            told(case.name)
        results.append(await _result(case, lab, mode))
    return results


async def refusal(
    channel: grpc.aio.Channel, *, modes: Sequence[BodyMode], settings: Settings
) -> str | None:
    """Why the suite would make no sense: the sentence of a picker that refuses a plain request.

    A picker that does anything else wrong is what the suite is for.
    """
    refused = None
    for mode in modes:
        lab = Lab(channel=channel, health_channel=channel, settings=settings, mode=mode)
        if await _is_no_service(lab):
            return "it has no external processing service"
        try:
            half = await lab.asked(lab.chat())
        except CaseFailedError:
            return None
        if half.immediate is None:
            return None
        refused = f"it answers a request for the model '{settings.model}' with "
        refused += immediate_text(half)
    return refused


async def _is_no_service(lab: Lab) -> bool:
    """Whether a stream is refused before anything is said on it."""
    async with lab.open() as conversation:
        await conversation.quiet_reply(lab.settings.quiet_seconds)
        return conversation.over and await conversation.status_name() == "UNIMPLEMENTED"


def _runs(
    cases: Sequence[Case], modes: Sequence[BodyMode]
) -> Iterator[tuple[Case, BodyMode | None]]:
    for case in cases:
        if not case.modes:
            yield case, None
        for mode in modes:
            if mode in case.modes:
                yield case, mode


async def _result(case: Case, lab: Lab, mode: BodyMode | None) -> CaseResult:
    started_seconds = time.monotonic()
    verdict, reason = await _verdict(case, lab)
    return CaseResult(
        name=case.name,
        body_mode=None if mode is None else mode.value,
        level=case.level,
        source=case.source,
        rule=case.rule,
        verdict=verdict,
        reason=reason,
        duration_seconds=time.monotonic() - started_seconds,
    )


async def _verdict(case: Case, lab: Lab) -> tuple[Verdict, str]:
    try:
        await case.play(lab)
    except CaseSkippedError as skipped:
        return Verdict.SKIP, str(skipped)
    except CaseFailedError as failed:
        return (Verdict.WARNING if case.level is Level.SHOULD else Verdict.FAIL), str(failed)
    return Verdict.PASS, ""
