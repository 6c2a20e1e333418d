"""The part of a serve file that says where and how Envoy finds the router."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headrace.fleet_file import NonNegative, Section
from router.extproc.events import BodyMode
from router.extproc.server import ExtProcSettings
from router.extproc.tls import TlsSettings

MAX_PORT = 65535
Port = Annotated[int, Field(ge=0, le=MAX_PORT)]


class ExtProcSection(Section):
    """Where Envoy finds the router (see router.extproc.server.ExtProcSettings)."""

    unix_socket: Path | None = None
    host: str = "127.0.0.1"
    port: Port | None = None
    shared_port: bool = False
    secure_serving: bool = False
    cert_path: Path | None = None
    cert_reload: bool = True
    client_ca_file: Path | None = None
    health_port: Port | None = None
    unannounced_body_mode: Literal["BUFFERED", "FULL_DUPLEX_STREAMED"] = "BUFFERED"
    subset_hints: bool = True
    max_body_bytes: Annotated[int, Field(gt=0)] = 64 * 2**20
    drain_seconds: NonNegative = 30.0

    @model_validator(mode="after")
    def _listens_somewhere(self) -> Self:
        if self.unix_socket is None and self.port is None:
            raise ValueError("give a unix_socket, a port or both")
        if not self.secure_serving and (self.cert_path or self.client_ca_file):
            raise ValueError("cert_path and client_ca_file need secure_serving: true")
        if self.secure_serving and self.port is None:
            raise ValueError("secure_serving needs a port: the unix_socket is always plain")
        if self.shared_port and (self.port is None or self.unix_socket is not None):
            raise ValueError("shared_port needs a port, and no unix_socket beside it")
        return self

    def ports_problem(self, workers: int) -> str | None:
        """What is wrong with the port for this many workers, if anything."""
        if not self.port or self.shared_port or self.port + workers - 1 <= MAX_PORT:
            return None
        return (
            f"ext_proc.port {self.port} leaves no ports for {workers} workers, which take one each"
        )

    def settings(self) -> ExtProcSettings:
        """As the gRPC server takes them."""
        tls = TlsSettings(
            folder=self.cert_path, reload=self.cert_reload, client_ca_file=self.client_ca_file
        )
        return ExtProcSettings(
            unix_socket=self.unix_socket,
            host=self.host,
            port=self.port,
            tls=tls if self.secure_serving else None,
            health_port=self.health_port,
            unannounced=BodyMode[self.unannounced_body_mode],
            subset_hints=self.subset_hints,
            max_body_bytes=self.max_body_bytes,
            drain_seconds=self.drain_seconds,
        )
