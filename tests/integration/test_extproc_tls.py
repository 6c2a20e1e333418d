"""The ext_proc server's certificates: made at start, read from files, renewed under load, mTLS."""

import asyncio
import ipaddress
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from extproc_harness import (
    SERVING,
    SystemClock,
    open_stream,
    request_body,
    request_headers,
    routed,
    serving,
    until,
)
from grpc_health.v1 import health_pb2, health_pb2_grpc

from router.extproc.listening import ListenError
from router.extproc.tls import TlsSettings, self_signed

# grpc.aio's poller is the process's: it would be told of ends of streams on loops long closed.
pytestmark = pytest.mark.asyncio(loop_scope="module")


def make_ca():
    """A certificate authority: (key, certificate). Issuers are told apart by their names."""
    return signed(f"test CA {x509.random_serial_number()}"[:60], None)


def signed(name, ca):
    """(key, certificate) objects, signed by `ca` or by themselves."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    ca_key, issuer = (key, subject) if ca is None else (ca[0], ca[1].subject)
    now = datetime.fromtimestamp(SystemClock().epoch_seconds(), UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca is None, None), critical=True)
    )
    return key, builder.sign(ca_key, hashes.SHA256())


def pem(pair):
    key, certificate = pair
    encoding = serialization.Encoding.PEM
    return (
        key.private_bytes(
            encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        certificate.public_bytes(encoding),
    )


def write(folder, pair):
    """Put a pair into a folder as a Secret would be."""
    key, certificate = pem(pair)
    (folder / "tls.key").write_bytes(key)
    (folder / "tls.crt").write_bytes(certificate)


def trusting(pair, client=None):
    key, chain = pem(client) if client is not None else (None, None)
    return grpc.ssl_channel_credentials(pem(pair)[1], key, chain)


async def served(s, credentials):
    """One pick over a connection of its own."""
    # Without its own subchannel pool a channel would take over the connection of another.
    options = [("grpc.use_local_subchannel_pool", 1)]
    target = f"localhost:{s.server.port}"
    async with grpc.aio.secure_channel(target, credentials, options) as channel:
        stream = open_stream(channel)
        address = await routed(stream)
        await stream.done_writing()
        assert await stream.code() is grpc.StatusCode.OK
        return address


async def more(picks, count):
    """Wait until that many more requests were served."""
    wanted = len(picks) + count
    await until(lambda: len(picks) >= wanted)


async def refused(s, credentials):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await served(s, credentials)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_is_made_at_start_and_verifies_by_itself():
    async with serving(tls=TlsSettings()) as s:
        made = s.server.certificates.certificate
        assert await served(s, grpc.ssl_channel_credentials(made))
        certificate = x509.load_pem_x509_certificate(made)
        validity = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        assert validity > timedelta(days=3650)


async def test_every_start_makes_another_certificate():
    assert self_signed(epoch_seconds=1e9)[0] != self_signed(epoch_seconds=1e9)[0]


async def test_plain_text_and_a_wrong_authority_are_turned_away_and_hurt_nobody():
    async with serving(tls=TlsSettings()) as s:
        good = grpc.ssl_channel_credentials(s.server.certificates.certificate)
        await refused(s, trusting(make_ca()))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{s.server.port}") as plain:
            stream = open_stream(plain)
            assert await stream.code() is grpc.StatusCode.UNAVAILABLE
        _reader, writer = await asyncio.open_connection("127.0.0.1", s.server.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n" + bytes(range(256)))
        await writer.drain()
        writer.close()
        assert await served(s, good)
        assert s.ledger.running() == 0


@pytest.mark.parametrize("reload", [True, False])
async def test_only_clients_of_the_authority_are_served(tmp_path, reload):
    ca, other = make_ca(), make_ca()
    server = signed("router", ca)
    write(tmp_path, server)
    (tmp_path / "ca.crt").write_bytes(pem(ca)[1])
    tls = TlsSettings(folder=tmp_path, reload=reload, client_ca_file=tmp_path / "ca.crt")
    async with serving(tls=tls) as s:
        assert await served(s, trusting(ca, client=signed("envoy", ca)))
        await refused(s, trusting(ca))
        await refused(s, trusting(ca, client=signed("stranger", other)))


async def test_a_certificate_is_replaced_under_load_and_no_request_is_lost(tmp_path):
    authorities = [make_ca() for _ in range(3)]
    write(tmp_path, signed("router", authorities[0]))
    bundle = b"".join(pem(ca)[1] for ca in authorities)
    async with serving(tls=TlsSettings(folder=tmp_path)) as s:
        picks = []

        async def load():
            while True:
                picks.append(await served(s, grpc.ssl_channel_credentials(bundle)))

        async def replace():
            for ca in authorities[1:]:
                replacement = pem(signed("router", ca))
                await more(picks, 10)
                (tmp_path / "tls.crt").write_bytes(replacement[1])
                await more(picks, 5)  # half replaced: the old pair serves on
                (tmp_path / "tls.key").write_bytes(replacement[0])
                assert await served(s, trusting(ca))

        workers = [asyncio.create_task(load()) for _ in range(4)]
        replacing = asyncio.create_task(replace())
        done, _ = await asyncio.wait([replacing, *workers], return_when=asyncio.FIRST_COMPLETED)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        assert [task.exception() for task in done] == [None]
        assert len(picks) >= 30
        await refused(s, trusting(authorities[0]))
        await until(lambda: s.server.open_streams == 0)
        assert s.ledger.running() == 0


async def test_without_reload_the_first_certificate_stays(tmp_path):
    first, second = make_ca(), make_ca()
    write(tmp_path, signed("router", first))
    async with serving(tls=TlsSettings(folder=tmp_path, reload=False)) as s:
        write(tmp_path, signed("router", second))
        assert await served(s, trusting(first))
        await refused(s, trusting(second))


async def test_a_stream_that_is_open_survives_the_replacement(tmp_path):
    ca = make_ca()
    write(tmp_path, signed("router", ca))
    credentials = trusting(ca)
    async with serving(tls=TlsSettings(folder=tmp_path), channel_credentials=credentials) as s:
        stream = open_stream(s.channel)
        await stream.write(request_headers())
        await stream.read()
        write(tmp_path, signed("router", make_ca()))
        await stream.write(request_body())
        assert (await stream.read()).WhichOneof("response") == "request_body"


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "cannot be read"),
        ({"tls.key": b"not a key"}, "tls.key: is not a private key in PEM"),
        ({"tls.crt": b"not a certificate"}, "tls.crt: is not a certificate in PEM"),
        ({"tls.crt": pem(make_ca())[1]}, "tls.crt and tls.key do not fit"),
    ],
)
async def test_a_certificate_of_no_use_is_named_at_start(tmp_path, files, sentence):
    if files:
        write(tmp_path, make_ca())
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ListenError, match=sentence):
        async with serving(tls=TlsSettings(folder=tmp_path)):
            pass


async def test_an_authority_of_no_use_is_named_at_start(tmp_path):
    (tmp_path / "ca.crt").write_text("nothing")
    with pytest.raises(ListenError, match=r"ca\.crt: is not a certificate in PEM"):
        async with serving(tls=TlsSettings(client_ca_file=tmp_path / "ca.crt")):
            pass


async def test_health_alone_is_served_in_plain_text_beside_tls():
    async with serving(tls=TlsSettings(), health_port=0) as s:
        target = f"127.0.0.1:{s.server.health_port}"
        async with grpc.aio.insecure_channel(target) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            reply = await health.Check(health_pb2.HealthCheckRequest(service="readiness"))
            assert reply.status == SERVING
            stream = open_stream(channel)
            assert await stream.code() is grpc.StatusCode.UNIMPLEMENTED
