"""Rules on the subset hint."""

import itertools

from headrace.conformance.case import CaseList
from headrace.conformance.lab import Lab, require_pick, require_status
from headrace.conformance.verdicts import CaseFailedError, CaseSkippedError, Level, Source
from headrace.conformance.wire import (
    SUBSET,
    SUBSET_NAMESPACE,
    UNKNOWN_ENDPOINT,
    HttpRequest,
    subset_metadata,
)

CASES = CaseList()
_UNAVAILABLE = range(503, 504)


@CASES.add(
    "subset-list",
    Level.MUST,
    Source.PICKER,
    f"If {SUBSET} is set, only endpoints of its list MUST be picked.",
)
async def _list(lab: Lab) -> None:
    endpoint = (await lab.endpoints())[-1]
    await _inside(lab, [endpoint, UNKNOWN_ENDPOINT], {endpoint})


@CASES.add(
    "subset-never-left",
    Level.MUST,
    Source.PICKER,
    "However often it is asked, the picker MUST pick no endpoint outside of the subset.",
)
async def _never_left(lab: Lab) -> None:
    endpoints = await lab.endpoints()
    if len(endpoints) == 1:
        raise CaseSkippedError("Only one endpoint was ever picked; this takes a pool of several.")
    for number, endpoint in zip(
        range(lab.settings.repeats), itertools.cycle(endpoints), strict=False
    ):
        others = [UNKNOWN_ENDPOINT] if number % 2 else []
        await _inside(lab, [*others, endpoint], {endpoint})


@CASES.add(
    "subset-comma-string",
    Level.SHOULD,
    Source.PRACTICE,
    "A subset SHOULD also be read as one string with commas, which some gateways send.",
)
async def _comma_string(lab: Lab) -> None:
    endpoint = (await lab.endpoints())[-1]
    await _inside(lab, f"{UNKNOWN_ENDPOINT}, {endpoint}", {endpoint})
    half = await lab.asked(lab.chat(metadata=subset_metadata(UNKNOWN_ENDPOINT)))
    require_status(half, _UNAVAILABLE)


@CASES.add(
    "subset-bare-ip",
    Level.SHOULD,
    Source.PRACTICE,
    "An IP address without a port in a subset SHOULD stand for all of its ports.",
)
async def _bare_ip(lab: Lab) -> None:
    endpoints = await lab.endpoints()
    host = endpoints[-1].rpartition(":")[0]
    allowed = {endpoint for endpoint in endpoints if endpoint.rpartition(":")[0] == host}
    half = await lab.asked(lab.chat(metadata=subset_metadata([host])))
    require_pick(half)
    # Endpoints of that address may show up here for the first time.
    outside = [name for name in half.endpoints() if name.rpartition(":")[0] != host]
    if outside:
        raise CaseFailedError(f"Picked was {', '.join(outside)}, allowed {', '.join(allowed)}.")


@CASES.add(
    "subset-empty",
    Level.MUST,
    Source.PICKER,
    "If the list is empty, the picker MUST return an ImmediateResponse with 503.",
)
async def _empty(lab: Lab) -> None:
    require_status(await lab.asked(lab.chat(metadata=subset_metadata([]))), _UNAVAILABLE)


@CASES.add(
    "subset-unknown-only",
    Level.MUST,
    Source.PICKER,
    "If no endpoint of the list is eligible, the picker MUST return an ImmediateResponse with 503.",
)
async def _unknown_only(lab: Lab) -> None:
    half = await lab.asked(lab.chat(metadata=subset_metadata([UNKNOWN_ENDPOINT])))
    require_status(half, _UNAVAILABLE)


@CASES.add(
    "subset-key-absent",
    Level.MUST,
    Source.PICKER,
    f"If {SUBSET} is not set, the picker MUST select from the whole pool, also when the namespace "
    "is there.",
)
async def _key_absent(lab: Lab) -> None:
    await lab.picked(lab.chat(metadata={SUBSET_NAMESPACE: {"another-key": "value"}}))


@CASES.add(
    "subset-of-header-only-request",
    Level.MUST,
    Source.PICKER,
    "The subset MUST also bind the pick for a request that ends with its headers.",
)
async def _header_only(lab: Lab) -> None:
    metadata = subset_metadata([UNKNOWN_ENDPOINT])
    half = await lab.asked(HttpRequest(method="GET", path="/version", metadata=metadata))
    if half.immediate is None:
        require_status(half, _UNAVAILABLE)


async def _inside(lab: Lab, subset: list[str] | str, allowed: set[str]) -> None:
    picked = await lab.picked(lab.chat(metadata=subset_metadata(subset)))
    outside = [endpoint for endpoint in picked if endpoint not in allowed]
    if outside:
        raise CaseFailedError(
            f"Picked was {', '.join(outside)}, allowed only {', '.join(sorted(allowed))}."
        )
