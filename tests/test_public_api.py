"""What the package promises at its top level."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import metadata
from types import ModuleType

import pytest

import otel_llm_feedback


def test_all_is_sorted_and_everything_in_it_can_be_imported() -> None:
    assert otel_llm_feedback.__all__ == sorted(otel_llm_feedback.__all__)
    namespace: dict[str, object] = {}
    exec("from otel_llm_feedback import *", namespace)  # noqa: S102 - the statement is the test
    namespace.pop("__builtins__")
    assert sorted(namespace) == otel_llm_feedback.__all__


def test_nothing_else_is_public() -> None:
    public = {
        name
        for name, value in vars(otel_llm_feedback).items()
        if not isinstance(value, ModuleType) and (not name.startswith("_") or name == "__version__")
    }
    assert public == set(otel_llm_feedback.__all__)


def test_the_version_is_that_of_the_distribution() -> None:
    assert otel_llm_feedback.__version__ == metadata.version("otel-llm-feedback")


@pytest.mark.parametrize("name", [name for name in otel_llm_feedback.__all__ if name != "__version__"])
def test_every_public_name_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(otel_llm_feedback, name))


def test_every_error_is_one_of_ours_and_says_whose_fault_it_is() -> None:
    refusals = [otel_llm_feedback.InvalidTarget, otel_llm_feedback.InvalidValue, otel_llm_feedback.InvalidField]
    for error in (*refusals, otel_llm_feedback.ConfigurationError):
        assert issubclass(error, otel_llm_feedback.FeedbackError)
        assert issubclass(error, ValueError)
    assert issubclass(otel_llm_feedback.FeedbackLost, otel_llm_feedback.FeedbackError)
    assert not issubclass(otel_llm_feedback.FeedbackLost, ValueError)


def test_optional_extras_are_not_imported() -> None:
    script = (
        "import sys, otel_llm_feedback; "
        "print([m for m in ('opentelemetry.instrumentation', 'opentelemetry.configuration', 'openai') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
