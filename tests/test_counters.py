from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Sum

from otel_llm_feedback.counters import Counters


def test_counts() -> None:
    counters = Counters()
    counters.add("emitted")
    counters.add("dropped", "no_logger_provider")
    counters.add("dropped", "internal_error", 2)
    assert counters.snapshot() == {
        ("emitted", ""): 1,
        ("dropped", "no_logger_provider"): 1,
        ("dropped", "internal_error"): 2,
    }
    assert counters.total("dropped") == 3
    assert counters.total("dropped", "internal_error") == 2
    assert counters.total("emitted", "") == 1
    assert counters.total("dropped", "") == counters.total("unknown") == 0


def test_a_snapshot_is_a_copy() -> None:
    counters = Counters()
    counters.snapshot()["x", ""] = 5
    assert counters.snapshot() == {}


def test_threads() -> None:
    counters = Counters()
    with ThreadPoolExecutor(8) as pool:
        for _ in range(4000):
            pool.submit(counters.add, "x", "y")
    assert counters.total("x") == 4000


def test_as_metrics() -> None:
    counters = Counters()
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    counters.publish(provider.get_meter("test"))
    counters.add("emitted", count=3)
    counters.add("dropped", "why")
    data = reader.get_metrics_data()
    assert data is not None
    [metric] = data.resource_metrics[0].scope_metrics[0].metrics
    assert (metric.name, metric.unit) == ("llm_feedback.outcomes", "{event}")
    assert isinstance(metric.data, Sum)
    assert metric.data.is_monotonic
    found = {frozenset((point.attributes or {}).items()): point.value for point in metric.data.data_points}
    assert found == {
        frozenset({("llm_feedback.outcome", "emitted")}): 3,
        frozenset({("llm_feedback.outcome", "dropped"), ("llm_feedback.reason", "why")}): 1,
    }
    provider.shutdown()


def test_the_lock_after_a_fork() -> None:
    counters = Counters()
    counters.add("x")
    counters.reset_lock_after_fork()
    counters.add("x")
    assert counters.total("x") == 2
