"""The external scaler of a served capper over TLS: its own files, clients of one authority."""

import grpc
import pytest
from stack_files import LONELY_FLEET, capped, write_cap, written

from capper.external_scaler import messages
from headrace.capping_errors import CappingStartError
from headrace.config_errors import BadInputError
from headrace.serve_file import load_serve
from headrace.service import Service
from router.extproc.tls import self_signed
from telemetry.system_clock import SystemClock


def service_of(folder, **scaler):
    written(folder / "fleet.yaml", LONELY_FLEET)
    write_cap(folder, 1000, capped("h100"), mode="Observe")
    serve = {
        "fleet": "fleet.yaml",
        "ext_proc": {"unix_socket": str(folder / "ext_proc.sock"), "drain_seconds": 0},
        "admin": {"port": 0},
        "telemetry": {"scrape": {"interval_seconds": 0.5}},
        "capper": {
            "configs": ["cap.yaml"],
            "period_seconds": 0.1,
            "external_scaler": {"port": 0, **scaler},
        },
    }
    return Service(*load_serve(written(folder / "serve.yaml", serve)))


def pair_in(folder):
    """A pair as a Secret has it; its own authority."""
    key, certificate = self_signed(epoch_seconds=SystemClock().epoch_seconds())
    folder.mkdir()
    (folder / "tls.key").write_bytes(key)
    (folder / "tls.crt").write_bytes(certificate)
    return key, certificate


async def asked(service, credentials=None):
    """The code that KEDA gets for a ScaledObject that nobody caps."""
    address = f"localhost:{service.capping.scaler_port}"
    options = [("grpc.use_local_subchannel_pool", 1)]
    channel = (
        grpc.aio.insecure_channel(address, options)
        if credentials is None
        else grpc.aio.secure_channel(address, credentials, options)
    )
    async with channel:
        call = channel.unary_unary(
            "/externalscaler.ExternalScaler/IsActive",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=messages.IsActiveResponse.FromString,
        )
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call(messages.ScaledObjectRef(name="a", namespace="b"), timeout=5)
    return error.value.code()


ANSWERED = {grpc.StatusCode.NOT_FOUND}  # by the scaler itself, after its first turn


async def test_it_answers_over_tls_only_and_only_its_authoritys_clients(tmp_path):
    _, server = pair_in(tmp_path / "server")
    client_key, client = pair_in(tmp_path / "client")
    service = service_of(
        tmp_path,
        secure_serving=True,
        cert_path=str(tmp_path / "server"),
        client_ca_file=str(tmp_path / "client" / "tls.crt"),
    )
    async with service:
        known = grpc.ssl_channel_credentials(server, client_key, client)
        assert await asked(service, known) in ANSWERED
        assert await asked(service, grpc.ssl_channel_credentials(server)) not in ANSWERED
        assert await asked(service) not in ANSWERED


async def test_without_files_it_makes_a_certificate(tmp_path):
    async with service_of(tmp_path, secure_serving=True) as service:
        assert await asked(service) not in ANSWERED


async def test_it_is_plain_unless_asked(tmp_path):
    async with service_of(tmp_path) as service:
        assert await asked(service) in ANSWERED


async def test_a_certificate_that_is_not_there_is_named(tmp_path):
    service = service_of(tmp_path, secure_serving=True, cert_path=str(tmp_path / "none"))
    with pytest.raises(CappingStartError, match=r"capper.external_scaler: .*none"):
        await service.start()


def test_files_without_the_switch_are_refused(tmp_path):
    with pytest.raises(BadInputError, match="need secure_serving: true"):
        service_of(tmp_path, cert_path=str(tmp_path))
