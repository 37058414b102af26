from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from otel_llm_feedback import ConfigurationError, Settings
from otel_llm_feedback.settings import PSEUDONYM_KEY, RAW_USER_IDS, flag


def test_defaults() -> None:
    assert Settings.from_environ({}) == Settings()
    assert (Settings().pseudonym_key, Settings().raw_user_ids) == (None, False)


def test_arguments_beat_the_environment_which_beats_the_default() -> None:
    environ = {PSEUDONYM_KEY: "from the environment", RAW_USER_IDS: "true"}
    assert Settings.from_environ(environ) == Settings(b"from the environment", raw_user_ids=True)
    chosen = Settings.from_environ(environ, pseudonym_key="argument", raw_user_ids=False)
    assert chosen == Settings(b"argument", raw_user_ids=False)
    assert Settings.from_environ(environ, pseudonym_key=b"bytes").pseudonym_key == b"bytes"


def test_the_environment_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PSEUDONYM_KEY, "now")
    monkeypatch.delenv(RAW_USER_IDS, raising=False)
    assert Settings.from_os_environ() == Settings(b"now")
    assert Settings.from_os_environ(raw_user_ids=True).raw_user_ids


def test_empty_variables_are_unset() -> None:
    assert Settings.from_environ({PSEUDONYM_KEY: "", RAW_USER_IDS: " "}) == Settings()


def test_a_key_from_the_environment_that_is_no_utf_8() -> None:
    assert Settings.from_environ({PSEUDONYM_KEY: "\udcff"}).pseudonym_key == b"\xff"


@pytest.mark.parametrize("key", ["", b"", 5, ["secret-key"], "secret-key\ud800"])
def test_bad_keys(key: Any) -> None:
    makers: list[Callable[[], Settings]] = [
        lambda: Settings.from_environ({}, pseudonym_key=key),
        lambda: Settings(pseudonym_key=key),
    ]
    for make in makers:
        with pytest.raises(ConfigurationError) as caught:
            make()
        assert "pseudonym_key" in str(caught.value)
        assert "secret-key" not in str(caught.value)
        error: BaseException | None = caught.value
        while error is not None:
            assert "secret-key" not in repr(error)
            error = error.__cause__ or error.__context__


def test_the_key_is_not_shown() -> None:
    assert "secret" not in repr(Settings(b"secret"))


def test_a_key_as_text_is_taken_everywhere() -> None:
    assert Settings(pseudonym_key="key") == Settings(b"key")  # type: ignore[arg-type]  # what untyped code does


@pytest.mark.parametrize("value", ["false", 1, None])
def test_raw_user_ids_is_true_or_false(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="raw_user_ids"):
        Settings(raw_user_ids=value)


@pytest.mark.parametrize("name", ["max_comment_length", "max_metadata_length", "max_metadata_keys"])
@pytest.mark.parametrize("value", [-1, True, 1.5, "5", None])
def test_bad_limits(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Settings(**{name: value})


@pytest.mark.parametrize("text", ["true", "TRUE", "1", "yes", "On", " true "])
def test_flags_on(text: str) -> None:
    assert flag({"X": text}, "X")


@pytest.mark.parametrize("text", ["false", "False", "0", "NO", "off"])
def test_flags_off(text: str) -> None:
    assert not flag({"X": text}, "X", default=True)


def test_flags_unset() -> None:
    assert flag({}, "X", default=True)
    assert not flag({"X": ""}, "X")


def test_flags_that_are_none() -> None:
    with pytest.raises(ConfigurationError, match="X='maybe': use true or false"):
        flag({"X": "maybe"}, "X")
