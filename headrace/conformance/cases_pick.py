"""Rules on the pick itself: header, metadata, syntax."""

import ipaddress

from envoy.config.core.v3.base_pb2 import HeaderValueOption

from headrace.conformance.case import CaseList
from headrace.conformance.lab import Lab, immediate_text, require_pick
from headrace.conformance.verdicts import CaseFailedError, Level, Source
from headrace.conformance.wire import DESTINATION, FORGED_ENDPOINT, HttpRequest

CASES = CaseList()
_MAX_PORT = 65_535
_OVERWRITES = (
    HeaderValueOption.APPEND_IF_EXISTS_OR_ADD,  # 0: unset
    HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
)


@CASES.add(
    "destination-header",
    Level.MUST,
    Source.PICKER,
    f"For each HTTP request the picker MUST set the header {DESTINATION}.",
)
async def _header(lab: Lab) -> None:
    await lab.picked()


@CASES.add(
    "destination-metadata",
    Level.MUST,
    Source.PICKER,
    f"For each HTTP request the picker MUST set {DESTINATION} as a string in the dynamic metadata "
    "envoy.lb.",
)
async def _metadata(lab: Lab) -> None:
    half = await lab.asked(lab.chat())
    if half.immediate is not None:
        raise CaseFailedError(f"Instead of a pick came {immediate_text(half)}.")
    value = half.metadata_destination()
    if not isinstance(value, str) or not value:
        raise CaseFailedError(f"The dynamic metadata holds {value!r}.")


@CASES.add(
    "destination-equal",
    Level.MUST,
    Source.PICKER,
    "The picker MUST not set two different values in the header and the metadata.",
)
async def _equal(lab: Lab) -> None:
    for _ in range(3):
        half = await lab.asked(lab.chat())
        require_pick(half)
        header, metadata = half.header_destinations(), half.metadata_destination()
        if header != [metadata]:
            raise CaseFailedError(f"The header is {', '.join(header)}, the metadata {metadata!r}.")


@CASES.add(
    "destination-syntax",
    Level.MUST,
    Source.PICKER,
    "The value MUST contain one endpoint as <ip:port>, or several separated by commas.",
)
async def _syntax(lab: Lab) -> None:
    half = await lab.asked(lab.chat())
    require_pick(half)
    for value in half.header_destinations():
        for entry in value.split(","):
            problem = _endpoint_problem(entry)
            if problem:
                raise CaseFailedError(f"'{entry}' in '{value}' {problem}.")


@CASES.add(
    "destination-list-without-repeats",
    Level.SHOULD,
    Source.PICKER,
    "A list of several endpoints is tried one after the other, so none SHOULD be in it twice.",
)
async def _no_repeats(lab: Lab) -> None:
    picked = await lab.picked()
    if len(set(picked)) < len(picked):
        raise CaseFailedError(f"The list repeats itself: {','.join(picked)}.")


@CASES.add(
    "destination-raw-value",
    Level.SHOULD,
    Source.EXT_PROC,
    "The header SHOULD be set as raw_value alone: Envoy reads no other and refuses both together.",
)
async def _raw_value(lab: Lab) -> None:
    half = await lab.asked(lab.chat())
    require_pick(half)
    for option in half.destination_options:
        if option.header.value or not option.header.raw_value:
            raise CaseFailedError(f"The header came as value '{option.header.value}'.")


@CASES.add(
    "destination-of-client-is-overwritten",
    Level.MUST,
    Source.PICKER,
    f"The endpoints in {DESTINATION} MUST be the picker's: what a client sent under that name is "
    "overwritten.",
)
async def _overwrites(lab: Lab) -> None:
    request = lab.chat(headers=((DESTINATION, FORGED_ENDPOINT),))
    half = await lab.asked(request)
    require_pick(half)
    if any(FORGED_ENDPOINT in value for value in half.header_destinations()):
        raise CaseFailedError(f"The client's {FORGED_ENDPOINT} is forwarded.")


@CASES.add(
    "destination-append-action",
    Level.SHOULD,
    Source.EXT_PROC,
    "The append_action of the header SHOULD be to overwrite, or be left unset: Envoy overwrites "
    "whichever it is, proxies that obey it would keep what a client sent.",
)
async def _append_action(lab: Lab) -> None:
    half = await lab.asked(lab.chat())
    require_pick(half)
    for option in half.destination_options:
        if option.append_action not in _OVERWRITES:
            name = HeaderValueOption.HeaderAppendAction.Name(option.append_action)
            raise CaseFailedError(f"The append_action is {name}.")


@CASES.add(
    "header-only-request",
    Level.MUST,
    Source.PICKER,
    "A request that ends with its headers MUST be given an endpoint in the reply to them, or an "
    "ImmediateResponse.",
)
async def _header_only(lab: Lab) -> None:
    half = await lab.asked(HttpRequest(method="GET", path="/version"))
    if half.immediate is None:
        require_pick(half)


def _endpoint_problem(entry: str) -> str | None:
    host, colon, port = entry.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        return "is not an IP address with a port"
    if (address.version == 6) is not bracketed:  # noqa: PLR2004 - IPv6
        return "needs brackets around an IPv6 address and no other"
    if not (colon and port.isascii() and port.isdigit() and 0 < int(port) <= _MAX_PORT):
        return "has no port between 1 and 65535"
    return None
