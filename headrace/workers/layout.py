"""What each of several workers is set up with: its own address, its part of every bound."""

from dataclasses import replace
from pathlib import Path

from fleet.clock import Clock
from headrace.routing import RoutingPlan
from headrace.worker_targets import socket_of
from router.admission.settings import AdmissionSettings
from router.extproc.server import ExtProcSettings
from router.extproc.tls import self_signed


def with_certificate(plan: RoutingPlan, clock: Clock) -> RoutingPlan:
    """The plan with a certificate that is made once for all workers, where none is given."""
    tls = plan.ext_proc.tls
    if tls is None or tls.folder is not None:
        return plan
    tls = replace(tls, made=self_signed(epoch_seconds=clock.epoch_seconds()))
    return replace(plan, ext_proc=replace(plan.ext_proc, tls=tls))


def plan_of(plan: RoutingPlan, index: int, workers: int, *, port: int | None) -> RoutingPlan:
    """The plan of one of `workers` workers.

    Args:
        plan: Of all of them together.
        index: Which one, from 0.
        workers: How many.
        port: What it listens on by TCP where the kernel chose; it keeps it when started again.
    """
    return replace(
        plan,
        ext_proc=_listening(plan.ext_proc, index, port),
        admission=_share(plan.admission, workers),
        remembered_picks=_part(plan.remembered_picks, workers),
        explained_per_second=plan.explained_per_second / workers,
    )


def plan_of_parent(plan: RoutingPlan) -> RoutingPlan:
    """The plan of the parent, which follows what the workers do and answers nobody."""
    metering = replace(plan.metering, access_record_path=None)
    return replace(plan, metering=metering, kv_events=None, tracing=None)


def _listening(settings: ExtProcSettings, index: int, port: int | None) -> ExtProcSettings:
    path, first = settings.unix_socket, settings.port
    if port is None and first is not None:
        port = first + index if first and not settings.reuse_port else first
    return replace(
        settings,
        unix_socket=None if path is None else Path(socket_of(str(path), index)),
        port=port,
        health_port=None,  # the parent speaks for all
    )


def _share(settings: AdmissionSettings, workers: int) -> AdmissionSettings:
    """Bounds are of the whole router: each worker holds its part, rounded up."""
    return replace(
        settings,
        max_waiting_requests=_part(settings.max_waiting_requests, workers),
        max_waiting_bytes=_part(settings.max_waiting_bytes, workers),
    )


def _part(whole: int, workers: int) -> int:
    return -(-whole // workers)
