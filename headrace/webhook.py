"""`headrace webhook`: adds the rack gate to pods that are created; opt-in by namespace."""

import argparse
import asyncio
import json
import logging
import signal
from pathlib import Path

from prometheus_client import CollectorRegistry

from capper.racks.webhook import CertificateFilesError, Webhook
from headrace.config_errors import BadInputError
from headrace.log_format import configure_logging

_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=9443, help="0 takes a free one")
    parser.add_argument(
        "--cert-dir",
        type=Path,
        required=True,
        help="folder with tls.crt and tls.key, as a Secret of type kubernetes.io/tls has them",
    )
    parser.add_argument(
        "--ready-file", type=Path, help="written once the port is open: JSON with its number"
    )
    parser.add_argument("--log-format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Answer until SIGTERM or SIGINT."""
    configure_logging(args.log_format)
    return asyncio.run(_serve(args))


async def _serve(args: argparse.Namespace) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    webhook = Webhook(CollectorRegistry())
    folder: Path = args.cert_dir
    try:
        await webhook.start(args.host, args.port, folder / "tls.crt", folder / "tls.key")
    except CertificateFilesError as error:
        raise BadInputError(f"webhook: --cert-dir: {error}") from error
    except (OSError, OverflowError) as error:
        raise BadInputError(f"webhook: {args.host}:{args.port}: {error}.") from error
    _log.info("pods are gated at https://%s:%d", args.host, webhook.port)
    if args.ready_file is not None:
        args.ready_file.write_text(json.dumps({"port": webhook.port}), encoding="utf-8")
    await stop.wait()
    await webhook.stop()
    return 0
