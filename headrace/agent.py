"""`headrace agent`: the clocks and power limits of one node's GPUs, by leases."""

import argparse
import asyncio
import json
import logging
import os
import signal
import socket
import time
from pathlib import Path

import grpc
from prometheus_client import CollectorRegistry, start_http_server

from capper.clocks.agent import NodeAgent
from capper.clocks.keeper import NodeKeeper
from capper.clocks.metrics import AgentCollector
from capper.clocks.nvml import Nvml, NvmlError
from capper.clocks.pod_resources import KubeletOwners
from capper.clocks.record_file import NodeBusyError, RecordFile
from capper.clocks.service import ClockAgentService
from headrace.agent_file import AgentSection, ListenSection, load_agent
from headrace.config_errors import BadInputError
from headrace.log_format import configure_logging
from router.extproc.tls import CertificateError, Certificates
from telemetry.system_clock import SystemClock

_log = logging.getLogger(__name__)
# There wherever AMD's compute driver is, inside containers, too.
_AMD_DRIVER = Path("/sys/class/kfd")
_STOP_SECONDS = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--config", type=Path, required=True, help="agent file (YAML)")
    parser.add_argument(
        "--ready-file", type=Path, help="written once the port is open: JSON with the address"
    )
    parser.add_argument(
        "--restore",
        action="store_true",
        help="put back everything that an agent left, safe limits too, and end",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT, then put everything back."""
    section = load_agent(args.config)
    configure_logging("text")
    nvml = Nvml()
    refuse_amd(nvml, _AMD_DRIVER)
    try:
        record = RecordFile(section.record_folder)
    except NodeBusyError as error:
        raise BadInputError(f"{args.config}: record_folder: {error}") from error
    except OSError as error:
        raise BadInputError(
            f"{args.config}: record_folder: {section.record_folder} cannot be written: "
            f"{error.strerror}."
        ) from error
    keeper = NodeKeeper(nvml, record, SystemClock(), time.sleep, section.keeper_settings())
    if args.restore:
        return _restore(keeper)
    return asyncio.run(_serve(section, keeper, args.ready_file))


def _restore(keeper: NodeKeeper) -> int:
    """Nobody holds anything any more."""
    keeper.open()
    left = keeper.restore_all()
    keeper.close()
    for uuid in left:
        print(f"{uuid}: could not be put back.")
    print(f"{keeper.tally.restores} boards put back.")
    return 1 if left else 0


async def _serve(section: AgentSection, keeper: NodeKeeper, ready_file: Path | None) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    clock, registry = SystemClock(), CollectorRegistry()
    agent = NodeAgent(
        keeper,
        clock,
        node=section.node or os.environ.get("NODE_NAME") or socket.gethostname(),
        kubelet=None
        if section.kubelet_socket is None
        else KubeletOwners(section.kubelet_socket, keeper.board_of_instance),
        declared_owners=section.ownership(),
        declared_shared=frozenset(section.shared_boards),
        beat_seconds=section.beat_seconds,
    )
    AgentCollector(keeper, agent.node, registry)
    tls = section.listen.tls
    service = ClockAgentService(
        agent,
        clients=None if tls is None else frozenset(tls.clients),
        max_lease_seconds=section.max_lease_seconds,
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((service.handler(),))
    port = _open_port(server, section.listen, clock)
    try:
        scraped, thread = start_http_server(
            section.metrics.port, section.metrics.host, registry=registry
        )
    except OSError as error:
        raise BadInputError(f"metrics: {error.strerror}.") from error
    # Whatever was left lowered is put back before anybody may claim anew.
    await agent.start()
    await server.start()
    _log.info("%s: %d boards, listening on %s", agent.node, len(keeper.boards), port)
    if ready_file is not None:
        _write_ready(ready_file, section.listen, port, scraped.server_port)
    await stop.wait()
    _log.info("putting back what is held")
    await server.stop(_STOP_SECONDS)
    await agent.stop()
    scraped.shutdown()
    thread.join()
    scraped.server_close()
    return 0


def _open_port(server: grpc.aio.Server, listen: ListenSection, clock: SystemClock) -> int:
    try:
        if listen.tls is None:
            return int(server.add_insecure_port(listen.address))
        credentials = Certificates(listen.tls.settings(), clock).credentials()
        return int(server.add_secure_port(listen.address, credentials))
    except (CertificateError, RuntimeError) as error:
        raise BadInputError(f"listen: {error}") from error


def _write_ready(path: Path, listen: ListenSection, port: int, metrics_port: int) -> None:
    """Write all at once, so that a reader never sees half of it."""
    address = listen.address if listen.socket is not None else f"{listen.host}:{port}"
    ready = {"pid": os.getpid(), "address": address, "metrics_port": metrics_port}
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(ready), encoding="utf-8")
    partial.replace(path)


def refuse_amd(nvml: Nvml, driver: Path) -> None:
    """An AMD node says so instead of waiting for NVML for ever.

    Args:
        nvml: Not started.
        driver: There where AMD's driver is.

    Raises:
        BadInputError: It has AMD's driver and no NVML.
    """
    if not driver.exists():
        return
    try:
        nvml.start()
    except NvmlError as error:
        raise BadInputError(
            f"{driver} is there and NVML is not: the clocks of AMD GPUs are not set by this "
            "agent (docs/guide/gpu-clocks.md says why); run it on NVIDIA nodes."
        ) from error
    nvml.stop()
