from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_llm_feedback.delivery.endpoint import SIZE_LIMITS, Endpoint, endpoint_from
from otel_llm_feedback.delivery.tls import check_files
from otel_llm_feedback.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

BASE = "OTEL_EXPORTER_OTLP_ENDPOINT"
LOGS = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"


def test_without_any_setting_it_is_the_local_collector() -> None:
    assert endpoint_from({}, "logs") == Endpoint(
        "logs", "http/protobuf", "http://localhost:4318/v1/logs", insecure=True
    )
    assert endpoint_from({}, "traces", protocol="grpc") == Endpoint("traces", "grpc", "localhost:4317", insecure=True)


@pytest.mark.parametrize(
    ("environ", "arguments", "logs", "traces"),
    [
        ({BASE: "http://c:1"}, {}, "http://c:1/v1/logs", "http://c:1/v1/traces"),
        ({BASE: "http://c:1/"}, {}, "http://c:1/v1/logs", "http://c:1/v1/traces"),
        ({BASE: "https://c/otlp/?k=v"}, {}, "https://c/otlp/v1/logs?k=v", "https://c/otlp/v1/traces?k=v"),
        ({BASE: "http://c/v1/logs"}, {}, "http://c/v1/logs/v1/logs", "http://c/v1/logs/v1/traces"),
        ({BASE: "http://c:1", LOGS: "http://d:2"}, {}, "http://d:2/", "http://c:1/v1/traces"),
        ({BASE: "http://c:1", LOGS: "http://d/in?x=1#y"}, {}, "http://d/in?x=1", "http://c:1/v1/traces"),
        ({LOGS: "  "}, {}, "http://localhost:4318/v1/logs", "http://localhost:4318/v1/traces"),
        ({BASE: "http://c", LOGS: "http://d"}, {"endpoint": "http://e"}, "http://e/v1/logs", "http://e/v1/traces"),
        ({}, {"endpoint": "http://e/p/v1/logs"}, "http://e/p/v1/logs", "http://e/p/v1/traces"),
        ({}, {"endpoint": "http://[::1]:4318"}, "http://[::1]:4318/v1/logs", "http://[::1]:4318/v1/traces"),
        ({}, {"endpoint": 'HTTP://e/a"b'}, "http://e/a%22b/v1/logs", "http://e/a%22b/v1/traces"),
    ],
)
def test_http_urls(environ: Mapping[str, str], arguments: Mapping[str, Any], logs: str, traces: str) -> None:
    assert endpoint_from(environ, "logs", **arguments).url == logs
    assert endpoint_from(environ, "traces", **arguments).url == traces


@pytest.mark.parametrize(
    ("url", "insecure", "expected"),
    [
        ("http://c:4317", None, ("c:4317", True)),
        ("http://c:4317", False, ("c:4317", True)),
        ("https://c:4317/ignored", True, ("c:4317", False)),
        ("c:4317", None, ("c:4317", False)),
        ("c:4317", True, ("c:4317", True)),
        ("dns:///c:4317", None, ("dns:///c:4317", False)),
        ("unix:///run/otlp.sock", True, ("unix:///run/otlp.sock", True)),
    ],
)
def test_grpc_targets(url: str, insecure: bool | None, expected: tuple[str, bool]) -> None:
    found = endpoint_from({}, "logs", protocol="grpc", endpoint=url, insecure=insecure)
    assert (found.url, found.insecure) == expected


def test_insecure_comes_from_the_environment_too() -> None:
    environ = {PROTOCOL: "grpc", BASE: "c:1", "OTEL_EXPORTER_OTLP_INSECURE": "TRUE"}
    assert endpoint_from(environ, "logs").insecure
    assert not endpoint_from({**environ, "OTEL_EXPORTER_OTLP_LOGS_INSECURE": "false"}, "logs").insecure


@pytest.mark.parametrize(
    ("setting", "attribute", "general", "own", "argument"),
    [
        ("PROTOCOL", "protocol", "grpc", "http/protobuf", "grpc"),
        ("TIMEOUT", "timeout_seconds", 3.0, 2.5, 0.5),
        ("COMPRESSION", "compression", "gzip", "none", "gzip"),
        ("CERTIFICATE", "certificate", "/a", "/b", "/c"),
        ("CLIENT_CERTIFICATE", "client_certificate", "/a", "/b", "/c"),
    ],
)
def test_argument_beats_signal_beats_general(
    setting: str, attribute: str, general: object, own: object, argument: object
) -> None:
    environ = {f"OTEL_EXPORTER_OTLP_{setting}": str(general)}
    assert getattr(endpoint_from(environ, "traces"), attribute) == general
    environ[f"OTEL_EXPORTER_OTLP_LOGS_{setting}"] = str(own)
    assert getattr(endpoint_from(environ, "traces"), attribute) == general
    assert getattr(endpoint_from(environ, "logs"), attribute) == own
    arguments: dict[str, Any] = {attribute: argument}
    assert getattr(endpoint_from(environ, "logs", **arguments), attribute) == argument


def test_a_key_goes_with_its_certificate() -> None:
    found = endpoint_from({"OTEL_EXPORTER_OTLP_CLIENT_KEY": "/k"}, "logs", client_certificate="/c")
    assert (found.client_key, found.client_certificate) == ("/k", "/c")
    with pytest.raises(ConfigurationError, match="OTEL_EXPORTER_OTLP_CLIENT_KEY='/k': set the client certificate"):
        endpoint_from({"OTEL_EXPORTER_OTLP_CLIENT_KEY": "/k"}, "logs")


# --- headers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("a=1", (("a", "1"),)),
        (" API-Key = x%20y , b=c=d ,, ", (("api-key", "x y"), ("b", "c=d"))),
        ("Authorization=Basic dTpw", (("authorization", "Basic dTpw"),)),
    ],
)
def test_headers_of_the_environment(text: str, expected: tuple[tuple[str, str], ...]) -> None:
    assert endpoint_from({HEADERS: text}, "logs").headers == expected


def test_headers_given_as_an_argument_take_the_place_of_the_environment() -> None:
    assert endpoint_from({HEADERS: "a=1"}, "logs", headers={"B": "2"}).headers == (("b", "2"),)
    assert endpoint_from({HEADERS: "a=1"}, "logs", headers={}).headers == ()


def test_credentials_in_the_url_become_a_header() -> None:
    found = endpoint_from({}, "logs", endpoint="https://me:p%40ss@c:4318")
    assert found.url == "https://c:4318/v1/logs"
    assert found.headers == (("authorization", "Basic bWU6cEBzcw=="),)
    grpc = endpoint_from({HEADERS: "authorization=Bearer x"}, "logs", protocol="grpc", endpoint="http://me:pass@c:1")
    assert grpc.url == "c:1"
    assert grpc.headers == (("authorization", "Bearer x"),)


def test_no_secret_is_shown() -> None:
    endpoint = endpoint_from({HEADERS: "api-key=sesame-42,n=1"}, "logs", endpoint="https://me:pass-word@c/p?key=s3cr3t")
    assert repr(endpoint) == "<Endpoint logs http/protobuf https://c/p/v1/logs headers=[api-key, n, authorization]>"
    assert "sesame-42" in endpoint.secrets
    assert "1" not in endpoint.secrets


@pytest.mark.parametrize(
    ("environ", "arguments", "named", "secret"),
    [
        ({BASE: "ftp://me:sesame@c"}, {}, BASE, "sesame"),
        ({LOGS: "http://me:sesame@c:99999"}, {}, LOGS, "sesame"),
        ({BASE: "http://c:x?k=://sesame"}, {}, BASE, "sesame"),
        ({BASE: "me:sesame@c:4317"}, {"protocol": "grpc"}, BASE, "sesame"),
        ({HEADERS: "a=1,sesame"}, {}, HEADERS, "sesame"),
        ({HEADERS: "a=ses%0Aame"}, {}, HEADERS, "ses"),
        ({}, {"headers": {"a": "sesame\n"}}, "headers", "sesame"),
    ],
)
def test_a_mistake_beside_a_secret_is_named_without_it(
    environ: Mapping[str, str], arguments: Mapping[str, Any], named: str, secret: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        endpoint_from(environ, "logs", **arguments)
    assert str(caught.value).startswith(f"{named}=")
    assert secret not in str(caught.value)


# --- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"endpoint": ""},
        {"endpoint": "collector:4318"},
        {"endpoint": "http://"},
        {"endpoint": "http://:4318"},
        {"endpoint": "http://c:0"},
        {"endpoint": "http://c:port"},
        {"endpoint": "http://[::1"},
        {"endpoint": "http://c/a b"},
        {"endpoint": "http://c\r\nx: y"},
        {"endpoint": "http://bücher.example"},
        {"endpoint": "", "protocol": "grpc"},
        {"endpoint": "c :1", "protocol": "grpc"},
        {"endpoint": "https://", "protocol": "grpc"},
        {"protocol": "http/json"},
        {"protocol": ""},
        {"compression": "deflate"},
        {"timeout_seconds": 0},
        {"timeout_seconds": -1},
        {"timeout_seconds": float("nan")},
        {"timeout_seconds": float("inf")},
        {"headers": {"": "x"}},
        {"headers": {"a b": "x"}},
        {"headers": {"a": ""}},
        {"headers": {"a": "ü"}},
        {"headers": {"Content-Type": "text/plain"}},
        {"headers": {"grpc-timeout": "1S"}},
        {"headers": {"key-bin": "x"}},
    ],
)
def test_a_wrong_argument_is_refused_by_name(arguments: Mapping[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        endpoint_from({}, "logs", **arguments)
    assert caught.value.field in arguments


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "ten"),
        ("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "brotli"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost"),
    ],
)
def test_a_wrong_variable_is_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{variable}='{value}': "):
        endpoint_from({variable: value}, "logs")


@given(st.text(), st.sampled_from(["grpc", "http/protobuf"]))
def test_any_endpoint_is_usable_or_refused(url: str, protocol: str) -> None:
    try:
        found = endpoint_from({BASE: url}, "logs", protocol=protocol)
    except ConfigurationError as error:
        assert error.field == BASE  # noqa: PT017 - the other outcome is right, too
    else:
        assert found.url.isprintable()


def test_the_size_limits_are_those_of_the_protocol() -> None:
    assert endpoint_from({}, "logs").size_limit == SIZE_LIMITS["http/protobuf"] == 20 * 2**20
    assert endpoint_from({}, "logs", protocol="grpc").size_limit == 4 * 2**20


@pytest.mark.parametrize("path", ["/no/such/file.pem", "/dev/null", "nul\0"])
def test_a_certificate_that_cannot_be_used_is_refused_at_set_up(path: str) -> None:
    with pytest.raises(ConfigurationError, match="PEM"):
        check_files(Endpoint("logs", "grpc", "localhost:1", certificate=path))


def test_certificates_are_not_looked_at_without_tls() -> None:
    check_files(Endpoint("logs", "grpc", "localhost:1", certificate="/no/such/file.pem", insecure=True))
