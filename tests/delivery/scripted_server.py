"""An OTLP server on loopback, over HTTP or gRPC, that answers as its script says and remembers what it accepted."""

from __future__ import annotations

import gzip
import shutil
import socket
import ssl
import subprocess
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from typing_extensions import Self

__all__ = [
    "Accept",
    "Behaviour",
    "Certificates",
    "Drip",
    "Early",
    "Hang",
    "Partial",
    "Raw",
    "Refuse",
    "ScriptedServer",
    "Seen",
    "make_certificates",
]

ID = "llm_feedback.id"


@dataclass(frozen=True)
class Accept:
    """Accept everything, with this HTTP status."""

    status: int = 200


@dataclass(frozen=True)
class Partial:
    """Accept the request, and say that ``rejected`` of its records were refused."""

    rejected: int
    message: str = ""


@dataclass(frozen=True)
class Refuse:
    """Answer with an HTTP status or the name of a gRPC code.

    ``retry_after`` is the header's text over HTTP and the seconds of a ``RetryInfo`` over gRPC.
    """

    code: int | str
    message: str = ""
    retry_after: str | float | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Hang:
    """Read the request and answer nothing until the server is released.

    ``accepted``: it is accepted before the silence, and the answer comes at the release; otherwise the connection ends.
    """

    accepted: bool = False


@dataclass(frozen=True)
class Raw:
    """HTTP: read the request, write exactly this and close. gRPC: answer OK with this message."""

    data: bytes = b""


@dataclass(frozen=True)
class Drip:
    """HTTP: read the request and write this byte by byte, without end before the release. gRPC: the same as `Hang`."""

    data: bytes
    every_seconds: float = 0.02


@dataclass(frozen=True)
class Early:
    """HTTP: answer without reading the body, and close."""

    status: int


Behaviour = Accept | Partial | Refuse | Hang | Raw | Drip | Early


@dataclass(frozen=True)
class Seen:
    """One request as it came: headers with lower-case names, the body decompressed."""

    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)
    ids: tuple[str, ...]
    decoded: bool


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files: an authority, a server for ``localhost`` and 127.0.0.1, and a client."""

    authority: str
    server: str
    server_key: str
    client: str
    client_key: str


class ScriptedServer:
    """Takes the next behaviour of ``script`` for each request, and ``default`` when there is none left.

    A request that holds a ``poison`` id, or that cannot be decoded, is refused as servers do it (400, INVALID_ARGUMENT),
    one of more than ``size_limit`` bytes likewise (413, RESOURCE_EXHAUSTED), whatever the script says of acceptance.
    """

    def __init__(
        self,
        protocol: str = "http/protobuf",
        script: Iterable[Behaviour] = (),
        *,
        default: Behaviour = Accept(),
        poison: Iterable[str] = (),
        size_limit: int | None = None,
        certificates: Certificates | None = None,
        require_client: bool = False,
        port: int = 0,
    ) -> None:
        self.protocol = protocol
        self.default = default
        self.seen: list[Seen] = []
        self.received: list[str] = []
        self.connections = 0
        self.changed = threading.Condition()
        self.released = threading.Event()
        self._script = deque(script)
        self._poison = frozenset(poison)
        self._size_limit = size_limit
        scheme = "https" if certificates else "http"
        kind = _GrpcServer if protocol == "grpc" else _HttpServer
        self._server: _GrpcServer | _HttpServer = kind(self, port, certificates, require_client=require_client)
        self.port = self._server.bound_port
        self.endpoint = f"{scheme}://127.0.0.1:{self.port}"
        self._server.begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Release what hangs, break every connection and free the port."""
        self.release()
        self._server.end()

    def release(self) -> None:
        """Let everything that hangs go on, and let nothing hang from now on."""
        self.released.set()

    def then(self, *behaviours: Behaviour) -> None:
        """Add to the script."""
        with self.changed:
            self._script.extend(behaviours)

    def wait_for(self, predicate: Callable[[ScriptedServer], object], timeout: float = 10.0) -> bool:
        """Wait until ``predicate`` of this server is true; False when it is not after ``timeout`` seconds."""
        with self.changed:
            return self.changed.wait_for(lambda: bool(predicate(self)), timeout)

    def connected(self) -> None:
        with self.changed:
            self.connections += 1
            self.changed.notify_all()

    def next_behaviour(self) -> Behaviour:
        with self.changed:
            return self._script.popleft() if self._script else self.default

    def take(self, path: str, headers: dict[str, str], body: bytes) -> Seen:
        """Remember a request."""
        try:
            seen = Seen(path, headers, body, tuple(_ids(path, body)), decoded=True)
        except DecodeError:
            seen = Seen(path, headers, body, (), decoded=False)
        with self.changed:
            self.seen.append(seen)
            self.changed.notify_all()
        return seen

    def judge(self, seen: Seen, behaviour: Behaviour) -> Behaviour:
        """The behaviour after a look at the data; what it accepts is recorded."""
        if not isinstance(behaviour, (Accept, Partial)) and behaviour != Hang(accepted=True):
            return behaviour
        grpc_ = self.protocol == "grpc"
        if self._size_limit is not None and len(seen.body) > self._size_limit:
            return Refuse("RESOURCE_EXHAUSTED" if grpc_ else 413, "received message larger than max")
        if not seen.decoded or self._poison.intersection(seen.ids):
            return Refuse("INVALID_ARGUMENT" if grpc_ else 400, "bad data")
        with self.changed:
            self.received.extend(seen.ids)
            self.changed.notify_all()
        return behaviour


def _ids(path: str, body: bytes) -> Iterable[str]:
    if "trace" in path.lower():
        for spans in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in spans.scope_spans:
                yield from (span.name for span in scope.spans)
        return
    for logs in ExportLogsServiceRequest.FromString(body).resource_logs:
        for scope_logs in logs.scope_logs:
            for record in scope_logs.log_records:
                found = [pair.value.string_value for pair in record.attributes if pair.key == ID]
                yield found[0] if found else record.body.string_value


def _response(path: str, behaviour: Behaviour) -> bytes:
    partial = behaviour if isinstance(behaviour, Partial) else Partial(0)
    if partial == Partial(0):
        return b""
    if "trace" in path.lower():
        spans = ExportTraceServiceResponse()
        spans.partial_success.rejected_spans = partial.rejected
        spans.partial_success.error_message = partial.message
        return spans.SerializeToString()
    logs = ExportLogsServiceResponse()
    logs.partial_success.rejected_log_records = partial.rejected
    logs.partial_success.error_message = partial.message
    return logs.SerializeToString()


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(
        self, owner: ScriptedServer, port: int, certificates: Certificates | None, *, require_client: bool
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.owner = owner
        self.bound_port: int = self.server_address[1]
        self.tls = _server_context(certificates, require_client=require_client) if certificates else None
        self._open: set[socket.socket] = set()

    def begin(self) -> None:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.owner.connected()
        self._open.add(request)
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        with self.tls.wrap_socket(request, server_side=True) as wrapped:
            self._open.add(wrapped)
            super().finish_request(wrapped, client_address)
            self._open.discard(wrapped)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away are what the tests are about."""


def _server_context(certificates: Certificates, *, require_client: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.authority)
    context.load_cert_chain(certificates.server, certificates.server_key)
    context.verify_mode = ssl.CERT_REQUIRED if require_client else ssl.CERT_NONE
    return context


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _HttpServer

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        owner = self.server.owner
        behaviour = owner.next_behaviour()
        if isinstance(behaviour, Early):
            self._answer(behaviour.status, b"", (("Connection", "close"),))
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        seen = owner.take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
        self._act(owner.judge(seen, behaviour))

    def _act(self, behaviour: Behaviour) -> None:
        match behaviour:
            case Refuse(int(status), message, retry_after, headers):
                extra = (*headers, ("Retry-After", str(retry_after))) if retry_after is not None else headers
                self._answer(status, Status(message=message).SerializeToString(), extra)
            case Hang(accepted):
                self.server.owner.released.wait()
                self._answer(200, b"") if accepted else self._leave()
            case Raw(data):
                self.wfile.write(data)
                self._leave()
            case Drip(data, every_seconds):
                for byte in data:
                    self.wfile.write(bytes((byte,)))
                    if self.server.owner.released.wait(every_seconds):
                        break
                self._leave()
            case Accept(status):
                self._answer(status, _response(self.path, behaviour))
            case Partial():
                self._answer(200, _response(self.path, behaviour))
            case _:
                raise TypeError(behaviour)

    def _answer(self, status: int, body: bytes, headers: Sequence[tuple[str, str]] = ()) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if status not in (204, 304):
            self.wfile.write(body)

    def _leave(self) -> None:
        self.close_connection = True


class _GrpcServer(grpc.GenericRpcHandler):
    _METHODS: ClassVar = (
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    )

    def __init__(
        self, owner: ScriptedServer, port: int, certificates: Certificates | None, *, require_client: bool
    ) -> None:
        self.owner = owner
        self._server = grpc.server(
            ThreadPoolExecutor(8, thread_name_prefix="scripted-grpc"),
            handlers=[self],
            options=(("grpc.so_reuseport", 0),),
        )
        address = f"127.0.0.1:{port}"
        if certificates is None:
            self.bound_port: int = self._server.add_insecure_port(address)
        else:
            credentials = _server_credentials(certificates, require_client=require_client)
            self.bound_port = self._server.add_secure_port(address, credentials)

    def begin(self) -> None:
        self._server.start()

    def end(self) -> None:
        self._server.stop(0).wait()

    def service(self, details: Any) -> Any:
        if details.method not in self._METHODS:
            return None
        headers = {name: value for name, value in details.invocation_metadata if isinstance(value, str)}

        def export(body: bytes, context: Any) -> bytes:
            seen = self.owner.take(details.method, headers, body)
            return self._act(details.method, self.owner.judge(seen, self.owner.next_behaviour()), context)

        return grpc.unary_unary_rpc_method_handler(export, None, None)

    def _act(self, method: str, behaviour: Behaviour, context: Any) -> bytes:
        match behaviour:
            case Refuse(str(code), message, retry_after):
                if retry_after is not None:
                    context.set_trailing_metadata((("grpc-status-details-bin", _details(float(retry_after))),))
                context.abort(grpc.StatusCode[code], message)
            case Hang() | Drip():
                gone = threading.Event()
                context.add_callback(gone.set)
                while not self.owner.released.wait(0.02) and not gone.is_set():
                    pass
                if behaviour != Hang(accepted=True):
                    context.abort(grpc.StatusCode.UNAVAILABLE, "released")
            case Raw(data):
                return data
            case Accept() | Partial():
                pass
            case _:
                raise TypeError(behaviour)
        return _response(method, behaviour)


def _details(seconds: float) -> bytes:
    delay = Duration()
    delay.FromNanoseconds(int(seconds * 1e9))
    detail = AnyMessage()
    detail.Pack(RetryInfo(retry_delay=delay))
    return Status(details=[detail]).SerializeToString()  # type: ignore[no-any-return]


def _server_credentials(certificates: Certificates, *, require_client: bool) -> Any:
    pair = (Path(certificates.server_key).read_bytes(), Path(certificates.server).read_bytes())
    authority = Path(certificates.authority).read_bytes() if require_client else None
    return grpc.ssl_server_credentials([pair], authority, require_client_auth=require_client)


def make_certificates(directory: Path) -> Certificates:
    """An authority and two certificates of it, made with the ``openssl`` program; valid for two days."""
    program = shutil.which("openssl") or pytest.fail("these tests need the `openssl` program", pytrace=False)
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]

    def openssl(*arguments: str) -> None:
        subprocess.run([program, *arguments], check=True, capture_output=True, cwd=directory, timeout=30)

    # Python 3.13 on verifies as strictly as RFC 5280 has it: with the key's usage, and the issuer named by its key.
    usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    openssl("req", "-x509", *new, *usage, "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    extensions = "subjectAltName=DNS:localhost,IP:127.0.0.1\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    (directory / "names").write_text(extensions)
    for name in ("server", "client"):
        openssl("req", *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
        openssl("x509", "-req", "-in", f"{name}.csr", *sign, "-out", f"{name}.pem")
    paths = [str(directory / name) for name in ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")]
    return Certificates(*paths)
