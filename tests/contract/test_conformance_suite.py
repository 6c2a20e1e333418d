"""The conformance suite passes a correct picker and sees each defect of a broken one."""

from contextlib import asynccontextmanager
from dataclasses import replace

import grpc
import picker_defects
import picker_faults
import pytest
from picker_harness import ENDPOINTS, MODEL, Picker, RefusedError, Stream, serving

from headrace.conformance.case import BOTH
from headrace.conformance.lab import Settings
from headrace.conformance.suite import CASES, run_suite
from headrace.conformance.verdicts import Level, Verdict

# grpc.aio's poller is the process's: it would be told of ends of streams on loops long closed.
pytestmark = pytest.mark.asyncio(loop_scope="module")

DEFECTS = {**picker_defects.DEFECTS, **picker_faults.DEFECTS}
SETTINGS = Settings(model=MODEL, timeout_seconds=20.0, quiet_seconds=0.1)
# A defect is seen at the latest after the time limit, and what hangs is seen by nothing else.
HASTY = replace(SETTINGS, timeout_seconds=0.8, response_chunks=100)


@asynccontextmanager
async def channel_to(picker):
    async with (
        serving(picker) as port,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        yield channel


def shown(results):
    return [(result.name, result.body_mode, result.reason) for result in results]


async def test_a_correct_picker_passes_every_case_in_both_body_modes():
    async with channel_to(Picker()) as channel:
        results = await run_suite(channel, modes=BOTH, settings=SETTINGS)
    assert shown(one for one in results if one.verdict is not Verdict.PASS) == []
    expected = [(case.name, mode) for case in CASES for mode in case.modes or (None,)]
    assert [(one.name, one.body_mode) for one in results] == expected


async def test_every_case_has_a_defect_and_a_name_of_its_own():
    names = [case.name for case in CASES]
    assert sorted(DEFECTS) == sorted(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_case_sees_its_defect(case):
    make, said = DEFECTS[case.name]
    async with channel_to(make()) as channel:
        results = await run_suite(channel, modes=BOTH, settings=HASTY, cases=[case])
    seen = Verdict.WARNING if case.level is Level.SHOULD else Verdict.FAIL
    assert [one.verdict for one in results] == [seen] * max(1, len(case.modes))
    assert [one.reason for one in results if said not in one.reason] == []


class OneEndpoint(Stream):
    def choose(self):
        if self.subset is not None and ENDPOINTS[0] not in self.subset:
            raise RefusedError(503, "Not ready.")
        return ENDPOINTS[0]


async def test_what_a_pool_of_one_endpoint_cannot_show_is_skipped():
    cases = [case for case in CASES if case.name.startswith("subset-n")]
    async with channel_to(Picker(OneEndpoint)) as channel:
        results = await run_suite(channel, modes=BOTH, settings=HASTY, cases=cases)
    assert {(one.name, one.verdict) for one in results} == {("subset-never-left", Verdict.SKIP)}


async def test_each_case_is_told_as_it_begins():
    told = []
    cases = [case for case in CASES if case.name.startswith("health-")]
    async with channel_to(Picker()) as channel:
        await run_suite(channel, modes=BOTH, settings=HASTY, cases=cases, told=told.append)
    assert told == [case.name for case in cases]
