"""`headrace conformance` as a user runs it: TLS, report, exit codes, sentences."""

import asyncio
import datetime as dt
import json
import socket
import sys
from contextlib import asynccontextmanager

import grpc
import picker_defects
import picker_faults
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from picker_harness import MODEL, Picker, serving

from headrace.conformance.suite import CASES
from headrace.conformance.wire import BodyMode
from headrace.main import main

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUICK = ("--case", "destination-header", "health-liveness")


def certificate(folder, name, *, names=()):
    """A self-signed certificate as a picker makes one; its PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])
    begin = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + dt.timedelta(days=36_500))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(one) for one in names])
        builder = builder.add_extension(alternatives, critical=False)
    signed = builder.sign(key, hashes.SHA256())
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


@pytest.fixture(scope="module")
def nameless(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("nameless"), "nameless")


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    return certificate(tmp_path_factory.mktemp("named"), "named", names=("picker.test",))


def credentials(files, *, clients=None):
    """Server credentials; `clients` is the certificate that a client must show."""
    certificate_file, key_file = files
    pair = (key_file.read_bytes(), certificate_file.read_bytes())
    roots = clients[0].read_bytes() if clients else None
    return grpc.ssl_server_credentials([pair], roots, clients is not None)


@asynccontextmanager
async def tls_port(files, picker=None, *, clients=None):
    async with serving(picker or Picker(), credentials(files, clients=clients)) as port:
        yield port


async def run(*arguments):
    """Exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "headrace.main", "conformance", *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def sentence(*arguments):
    """The one sentence of bad input."""
    status, out, err = await run(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    return err.strip()


async def test_all_buffered_cases_pass_over_tls_with_a_certificate_that_nobody_vouches_for(
    nameless, tmp_path
):
    report = tmp_path / "report.json"
    async with tls_port(nameless) as port:
        status, out, err = await run(
            *(f"127.0.0.1:{port}", "--model", MODEL, "--body-mode", "buffered", "--report", report)
        )
    assert (status, err) == (0, "")
    written = json.loads(report.read_text())
    tried = [case for case in CASES if not case.modes or BodyMode.BUFFERED in case.modes]
    runs = len(tried)
    assert written["totals"] == {"pass": runs, "warning": 0, "fail": 0, "skip": 0}
    assert (written["schema"], written["conformant"], len(written["cases"])) == (1, True, runs)
    assert written["versions"]["endpoint_picker_protocol"] == "1.0.0"
    assert written["options"]["tls"] is True
    assert {case["rule"] for case in written["cases"]} == {case.rule for case in tried}
    assert f"{runs} pass, 0 warning, 0 fail, 0 skip: conformant." in out


@pytest.mark.parametrize(
    ("case", "status", "verdict"),
    [("destination-equal", 1, "fail"), ("unknown-model", 0, "warning")],
)
async def test_only_a_failed_case_makes_the_exit_code_one(case, status, verdict, tmp_path):
    report = tmp_path / "report.json"
    make, said = (picker_defects.DEFECTS | picker_faults.DEFECTS)[case]
    async with serving(make()) as port:
        code, out, _ = await run(
            *(f"localhost:{port}", "--insecure", "--model", MODEL, "--case", case),
            *("--report", report),
        )
    [entry] = json.loads(report.read_text())["cases"]
    assert (code, entry["verdict"]) == (status, verdict)
    assert said in entry["reason"]
    assert entry["rule"] in " ".join(out.split())


async def test_a_ca_is_asked_for_the_certificate_and_the_name(named, nameless):
    async with tls_port(named) as port:
        target = (f"127.0.0.1:{port}", "--model", MODEL, *QUICK, "--ca")
        assert (await run(*target, named[0], "--authority", "picker.test"))[0] == 0
        assert "certificate is refused: IP address mismatch" in await sentence(*target, named[0])
        said = await sentence(*target, nameless[0], "--authority", "picker.test")
        assert "certificate is refused: self-signed certificate" in said


async def test_a_picker_that_wants_a_client_certificate_is_given_it(named, nameless):
    async with tls_port(named, clients=nameless) as port:
        target = (f"127.0.0.1:{port}", "--model", MODEL, *QUICK)
        shown = ("--cert", nameless[0], "--key", nameless[1])
        assert (await run(*target, *shown))[0] == 0
        assert "it may want --cert and --key" in await sentence(*target)


async def test_tls_and_plain_are_told_apart(nameless):
    async with serving(Picker()) as port:
        assert "use --insecure" in await sentence(f"127.0.0.1:{port}")
    async with tls_port(nameless) as port:
        assert "answers there without TLS" in await sentence(f"127.0.0.1:{port}", "--insecure")


async def test_bad_input_is_one_sentence(tmp_path, named, capsys):
    async def said(*arguments):
        # Another process for each would take most of the time; none of these gets as far as gRPC.
        code = await asyncio.to_thread(main, ["conformance", *map(str, arguments)])
        out, err = capsys.readouterr()
        assert (code, out.strip(), err.count("\n")) == (2, "", 1)
        return err.strip()

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{probe.getsockname()[1]}"
    assert await said(closed) == f"{closed}: cannot be connected to: Connection refused."
    assert await said("somewhere") == "the target must be HOST:PORT, got 'somewhere'."
    assert await said("host:0") == "the target must be HOST:PORT, got 'host:0'."
    assert "no such case" in await said(closed, "--case", "made-up")
    assert "must be given together" in await said(closed, "--cert", named[0])
    assert "not for --insecure" in await said(closed, "--insecure", "--ca", named[0])
    assert "no readable PEM" in await said(closed, "--ca", tmp_path / "none.pem")
    assert "its key: " in await said(closed, "--cert", named[0], "--key", named[0])
    assert "no such folder" in await said(closed, "--report", tmp_path / "none" / "r.json")
    assert "must be above 0" in await said(closed, "--timeout-seconds", "0")
    assert "--health-port must be 1 to 65535" in await said(closed, "--health-port", "65536")


async def test_a_picker_without_the_model_is_not_tried():
    async with serving(Picker()) as port:
        said = await sentence(f"127.0.0.1:{port}", "--insecure")
    assert "it answers a request for the model 'conformance' with an ImmediateResponse 404" in said


async def test_health_is_asked_on_its_own_plain_port_and_skipped_where_there_is_none(nameless):
    async with (
        serving(Picker(), credentials(nameless), health=False) as port,
        serving(Picker()) as other,
    ):
        target = (f"127.0.0.1:{port}", "--model", MODEL, *QUICK)
        _, out, _ = await run(*target)
        assert "1 pass, 0 warning, 0 fail, 1 skip: conformant." in out
        _, out, _ = await run(*target, "--health-port", other)
        assert "2 pass, 0 warning, 0 fail, 0 skip: conformant." in out


async def test_a_server_without_ext_proc_is_told_so():
    async with serving(Picker(), ext_proc=False) as port:
        said = await sentence(f"127.0.0.1:{port}", "--insecure")
    assert "it has no external processing service" in said


async def test_the_rules_are_listed_without_a_picker():
    status, out, err = await run("--list")
    assert (status, err) == (0, "")
    assert [case.name for case in CASES if case.name not in out.splitlines()] == []
