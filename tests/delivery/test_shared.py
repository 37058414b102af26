from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otel_llm_feedback.delivery import shared
from otel_llm_feedback.delivery.records import Signal
from otel_llm_feedback.errors import ConfigurationError
from tests.delivery.delivering import names, put_votes
from tests.delivery.scripted_server import Refuse, ScriptedServer

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = "http://127.0.0.1:9"


def readings(reader: InMemoryMetricReader) -> dict[tuple[str, str], float]:
    data: Any = reader.get_metrics_data()
    return {
        (
            metric.name.removeprefix("llm_feedback.spool."),
            point.attributes.get("llm_feedback.spool.signal", ""),
        ): point.value
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }


def test_what_waits_can_be_watched(tmp_path: Path) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    shared.publish(provider.get_meter("test"))
    with ScriptedServer(default=Refuse(503)) as server:
        courier = shared.acquire({}, spool_dir=tmp_path / "watched", endpoint=server.endpoint)
        put_votes(courier, names(3))
        seen = readings(reader)
        assert (seen["records", "logs"], seen["records", "traces"], seen["dead_letters", ""]) == (3, 0, 0)
        assert seen["bytes", ""] > 0
        assert seen["oldest_age", ""] >= 0
        shared.release(courier, 0.5)
    provider.shutdown()


def test_users_of_one_directory_share_a_courier_until_the_last_one_leaves(tmp_path: Path) -> None:
    one = shared.acquire({}, spool_dir=tmp_path / "spool", endpoint=NOBODY)
    other = shared.acquire({}, spool_dir=tmp_path / "spool", endpoint=NOBODY)
    assert one is other is shared.share(one)
    assert shared.release(one) is None
    assert shared.release(one) is None
    one.put(Signal.LOGS, b"", precious=True)
    report = shared.release(one, 0.5)
    assert report is not None
    assert report.remaining == 1


def test_one_directory_delivers_to_one_place(tmp_path: Path) -> None:
    courier = shared.acquire({}, spool_dir=tmp_path / "spool", endpoint=NOBODY)
    with pytest.raises(ConfigurationError, match=r"spool_dir=.*same endpoint"):
        shared.acquire({}, spool_dir=tmp_path / "spool", endpoint="http://127.0.0.1:10")
    shared.release(courier, 0.5)


@pytest.mark.parametrize(
    ("environ", "service", "expected"),
    [
        ({"OTEL_LLM_FEEDBACK_SPOOL_DIR": "/var/spool/feedback"}, "shop", "/var/spool/feedback"),
        ({"XDG_STATE_HOME": "/state", "HOME": "/home/me"}, "shop", "/state/otel-llm-feedback/shop"),
        ({"HOME": "/home/me"}, "shop/../..", "/home/me/.local/state/otel-llm-feedback/shop_.._.."),
        ({"HOME": "/home/me"}, "..", "/home/me/.local/state/otel-llm-feedback/unknown_service"),
    ],
)
def test_where_the_spool_is(environ: dict[str, str], service: str, expected: str) -> None:
    assert str(shared.spool_directory(environ, service)) == expected


def test_without_a_home_it_says_what_to_set() -> None:
    with pytest.raises(ConfigurationError, match="OTEL_LLM_FEEDBACK_SPOOL_DIR"):
        shared.spool_directory({}, "shop")


@pytest.mark.parametrize("given", [5, "", b""])
def test_a_directory_that_is_none(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="spool_dir"):
        shared.spool_directory({}, "shop", given)
