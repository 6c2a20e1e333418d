"""The gRPC service of an agent: who may call, and what they may ask."""

import math
from typing import Any

import grpc

from capper.clocks import messages
from capper.clocks.agent import NodeAgent
from capper.clocks.answers import BoardAnswer, BoardClaim
from capper.clocks.board import FREE, Board, Setting
from capper.clocks.lease import OnExpiry
from capper.clocks.owners import OwnerClaim
from capper.proto import codec

_MOST_CLAIMS = 4096
_NAMES = ("x509_common_name", "x509_subject_alternative_name")


class ClockAgentService:
    """Answers cappers whose certificate carries an allowed name."""

    def __init__(
        self, agent: NodeAgent, *, clients: frozenset[str] | None, max_lease_seconds: float
    ) -> None:
        """Serve `agent`.

        Args:
            agent: Of this node.
            clients: Names of certificates, one of which a caller's must carry; None: anybody, for
                addresses that only this machine reaches.
            max_lease_seconds: No lease is longer.
        """
        self._agent = agent
        self._clients = clients
        self._max_lease_seconds = max_lease_seconds

    def handler(self) -> grpc.GenericRpcHandler:
        """The service, for a grpc.aio server."""
        unary = grpc.unary_unary_rpc_method_handler
        return grpc.method_handlers_generic_handler(
            messages.SERVICE,
            {
                "Hold": unary(self._hold, *codec(messages.HoldRequest)),
                "Release": unary(self._release, *codec(messages.ReleaseRequest)),
                "Boards": unary(self._boards, *codec(messages.BoardsRequest)),
            },
        )

    async def _hold(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        await self._authorize(context)
        problem = self._problem(request)
        if problem is not None:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)
        terms = BoardClaim(
            uuid="",
            setting=FREE,
            lease_seconds=request.lease_seconds,
            on_expiry=OnExpiry(request.on_lease_expiry or OnExpiry.RESTORE),
            safe_limit_watts=request.safe_limit_watts or None,
        )
        claims = [
            OwnerClaim(
                owner=one.owner,
                workload=one.workload,
                uuids=tuple(one.gpu_uuids),
                setting=Setting(
                    max_hertz=one.max_clock_hertz or None, limit_watts=one.limit_watts or None
                ),
            )
            for one in request.claims
        ]
        pairs = await self._agent.hold(request.holder, claims, terms)
        held = [_held(owner, answer) for owner, answer in pairs]
        return messages.HoldReply(node=self._agent.node, boards=held)

    async def _release(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        await self._authorize(context)
        if not request.holder:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "holder: is required.")
        released = await self._agent.release(request.holder)
        return messages.ReleaseReply(node=self._agent.node, gpu_uuids=released)

    async def _boards(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        del request  # It has no fields.
        await self._authorize(context)
        boards = [self._board(one) for one in dict(self._agent.keeper.boards).values()]
        return messages.BoardsReply(node=self._agent.node, boards=boards)

    def _board(self, board: Board) -> Any:
        reading = self._agent.keeper.readings.get(board.uuid)
        holding = self._agent.keeper.book.holdings.get(board.uuid)
        clocks = board.clocks_hertz
        return messages.Board(
            gpu_uuid=board.uuid,
            name=board.name,
            owners=sorted(self._agent.ownership.get(board.uuid, ())),
            holders=[] if holding is None else [one.holder for one in holding.leases],
            mig=board.mig,
            min_clock_hertz=clocks[0] if clocks else 0.0,
            max_clock_hertz=clocks[-1] if clocks else 0.0,
            min_limit_watts=board.min_limit_watts or 0.0,
            limit_watts=(None if reading is None else reading.limit_watts) or 0.0,
            sm_clock_hertz=(None if reading is None else reading.sm_hertz) or 0.0,
            watts=(None if reading is None else reading.watts) or 0.0,
            joules=(None if reading is None else reading.joules) or 0.0,
        )

    async def _authorize(self, context: grpc.aio.ServicerContext) -> None:
        if self._clients is None:
            return
        said = context.auth_context()
        names = {name.decode(errors="replace") for key in _NAMES for name in said.get(key, ())}
        if not names & self._clients:
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED,
                f"the certificate names {', '.join(sorted(names)) or 'nobody'}; allowed is "
                f"{', '.join(sorted(self._clients))}.",
            )

    def _problem(self, request: Any) -> str | None:
        """What is wrong with a request, in one sentence."""
        if not request.holder:
            return "holder: is required."
        if not 0.0 < request.lease_seconds <= self._max_lease_seconds:
            return f"lease_seconds: must be above 0 and at most {self._max_lease_seconds:.0f}."
        if request.on_lease_expiry not in {"", *OnExpiry}:
            return f"on_lease_expiry: must be {' or '.join(OnExpiry)}."
        return _problem_of_claims(request)


def _problem_of_claims(request: Any) -> str | None:
    if len(request.claims) > _MOST_CLAIMS:
        return f"claims: at most {_MOST_CLAIMS}."
    figures = [request.safe_limit_watts]
    for claim in request.claims:
        figures += [claim.max_clock_hertz, claim.limit_watts]
        if not claim.owner:
            return "claims: owner is required."
    if not all(math.isfinite(figure) and figure >= 0.0 for figure in figures):
        return "claims: clocks and limits must be finite and not negative."
    return None


def _held(owner: str, answer: BoardAnswer) -> Any:
    return messages.HeldBoard(
        owner=owner,
        gpu_uuid=answer.uuid,
        outcome=answer.outcome.value,
        sentence=answer.sentence,
        max_clock_hertz=answer.max_hertz or 0.0,
        goal_clock_hertz=answer.goal_hertz or 0.0,
        limit_watts=answer.limit_watts or 0.0,
    )
