from __future__ import annotations

import enum
import json
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from otel_llm_feedback.errors import InvalidField, InvalidValue
from otel_llm_feedback.feedback.scales import (
    LIKERT_5,
    LIKERT_7,
    MINUS_TEN_TO_TEN,
    NPS,
    ONE_TO_TEN,
    STARS,
    THUMBS,
    UNIT,
    Reading,
    Scale,
)

WHOLE = [(STARS, 1, 5), (NPS, 0, 10), (LIKERT_5, 1, 5), (LIKERT_7, 1, 7), (MINUS_TEN_TO_TEN, -10, 10)]
FRACTIONAL = [(UNIT, 0, 1), (ONE_TO_TEN, 1, 10)]
each_bounded = pytest.mark.parametrize(("scale", "low", "high"), WHOLE + FRACTIONAL)
each_whole = pytest.mark.parametrize(("scale", "low", "high"), WHOLE)

LATENCY = Scale.continuous("latency", 0, 60, higher_is_better=False)
SEVERITY = Scale.categorical("severity", {"none": 0, "minor": 1, "major": 5}, higher_is_better=False)
OPEN = Scale.continuous("open", None, None)
NOTES = Scale.freeform("notes")

BOUND = st.floats(-1e9, 1e9) | st.integers(-(10**9), 10**9)
NAME = st.text(min_size=1, max_size=128).filter(lambda text: text.strip() and text.isprintable())


class Grade(str, enum.Enum):
    PASS = "pass"


class Stars(enum.IntEnum):
    FOUR = 4


@each_bounded
@given(data=st.data())
def test_normalised_from_worst_to_best(scale: Scale, low: int, high: int, data: st.DataObject) -> None:
    numbers = st.integers(low, high) if scale.whole else st.floats(low, high)
    worse, better = sorted([data.draw(numbers), data.draw(numbers)])

    first, second = scale.normalise(worse), scale.normalise(better)

    assert first is not None
    assert second is not None
    assert 0 <= first <= second <= 1
    assert (scale.normalise(low), scale.normalise(high)) == (0, 1)


@each_bounded
@given(value=st.floats() | st.integers())
def test_outside_is_refused_inside_is_not(scale: Scale, low: int, high: int, value: float) -> None:
    if low <= value <= high and not (scale.whole and value != int(value)):
        assert scale.check(value) == Reading(float(value), None, None)
        return
    with pytest.raises(InvalidValue) as error:
        scale.check(value)
    assert f"{scale.name!r}" in str(error.value)
    assert f"from {low} to {high}" in str(error.value)


@each_whole
@given(value=st.floats(-10, 10))
def test_half_a_star_is_refused(scale: Scale, low: int, high: int, value: float) -> None:
    assume(not value.is_integer())

    with pytest.raises(InvalidValue, match="a whole number"):
        scale.normalise(value)


@given(low=BOUND, high=BOUND, share=st.floats(0, 1), more=st.floats(0, 1), better=st.booleans())
def test_any_range_in_any_direction(low: float, high: float, share: float, more: float, better: bool) -> None:
    assume(float(low) < float(high))
    scale = Scale.continuous("any", low, high, better)
    one, other = (min(high, max(low, low + each * (high - low))) for each in sorted([share, more]))

    first, second = scale.normalise(one), scale.normalise(other)

    assert first is not None
    assert second is not None
    assert 0 <= first <= 1
    assert 0 <= second <= 1
    assert first <= second if better else first >= second
    for outside in (math.nextafter(low, -math.inf), math.nextafter(high, math.inf)):
        with pytest.raises(InvalidValue, match="'any'"):
            scale.check(outside)


@given(st.dictionaries(NAME, BOUND, min_size=1, max_size=64), st.booleans())
def test_any_categories(categories: dict[str, float], better: bool) -> None:
    scale = Scale.categorical("any", categories, better)
    ordered = sorted(categories, key=lambda label: float(categories[label]), reverse=not better)

    positions = [scale.normalise(label) for label in ordered]

    if len({float(score) for score in categories.values()}) == 1:
        assert set(positions) == {None}
    else:
        known = [each for each in positions if each is not None]
        assert known == sorted(known)
        assert (known[0], known[-1], len(known)) == (0, 1, len(categories))
    for label, score in categories.items():
        assert scale.check(label) == Reading(float(score), label, None)
        assert scale.check(score).score == float(score)


@pytest.mark.parametrize(
    ("scale", "value", "expected", "normalised"),
    [
        (THUMBS, True, Reading(1, "pass", None), 1),
        (THUMBS, False, Reading(0, "fail", None), 0),
        (THUMBS, 1, Reading(1, "pass", None), 1),
        (THUMBS, 0.0, Reading(0, "fail", None), 0),
        (THUMBS, "fail", Reading(0, "fail", None), 0),
        (THUMBS, Grade.PASS, Reading(1, "pass", None), 1),
        (STARS, 4, Reading(4, None, None), 0.75),
        (STARS, 4.0, Reading(4, None, None), 0.75),
        (STARS, Stars.FOUR, Reading(4, None, None), 0.75),
        (STARS, Fraction(4), Reading(4, None, None), 0.75),
        (UNIT, Fraction(1, 4), Reading(0.25, None, None), 0.25),
        (ONE_TO_TEN, 5.5, Reading(5.5, None, None), 0.5),
        (MINUS_TEN_TO_TEN, -5, Reading(-5, None, None), 0.25),
        (LATENCY, 15, Reading(15, None, None), 0.75),
        (LATENCY, 0, Reading(0, None, None), 1),
        (SEVERITY, "minor", Reading(1, "minor", None), 0.8),
        (SEVERITY, 5, Reading(5, "major", None), 0),
        (OPEN, -1e300, Reading(-1e300, None, None), None),
        (NOTES, "well, ", Reading(None, None, "well, "), None),
    ],
)
def test_what_values_mean(scale: Scale, value: object, expected: Reading, normalised: float | None) -> None:
    reading = scale.check(value)

    assert reading == expected
    assert type(reading.score) in (float, type(None))
    assert scale.normalise(value) == normalised


@pytest.mark.parametrize(
    ("scale", "value", "message"),
    [
        (STARS, 6, "value=6: on the scale 'stars' pass a whole number from 1 to 5"),
        (STARS, 3.5, "value=3.5: on the scale 'stars' pass a whole number from 1 to 5"),
        (STARS, True, "value=True: on the scale 'stars' pass a whole number from 1 to 5"),
        (STARS, "5", "value=<str of length 1>: on the scale 'stars' pass a whole number from 1 to 5"),
        (STARS, None, "value=None: on the scale 'stars' pass a whole number from 1 to 5"),
        (STARS, Decimal(4), "value=<Decimal>: on the scale 'stars' pass a whole number from 1 to 5"),
        (UNIT, math.nan, "value=nan: on the scale 'unit' pass a number from 0 to 1"),
        (UNIT, math.inf, "value=inf: on the scale 'unit' pass a number from 0 to 1"),
        (UNIT, True, "value=True: on the scale 'unit' pass a number from 0 to 1"),
        (UNIT, 1j, "value=<complex>: on the scale 'unit' pass a number from 0 to 1"),
        (
            OPEN,
            10**400,
            "value=1000000000000000000000000000...00000000000000000000000000000: on the scale 'open' pass a finite number",
        ),
        (OPEN, math.inf, "value=inf: on the scale 'open' pass a finite number"),
        (Scale.continuous("up", 1, None), 0, "value=0: on the scale 'up' pass a number from 1 up"),
        (Scale.continuous("down", None, 1), 2, "value=2: on the scale 'down' pass a number to 1"),
        (THUMBS, "up", "value='up': on the scale 'thumbs' pass one of 'fail', 'pass'"),
        (THUMBS, 0.5, "value=0.5: on the scale 'thumbs' pass one of 'fail', 'pass'"),
        (THUMBS, math.nan, "value=nan: on the scale 'thumbs' pass one of 'fail', 'pass'"),
        (THUMBS, [1], "value=<list of length 1>: on the scale 'thumbs' pass one of 'fail', 'pass'"),
        (THUMBS, "x" * 129, "value=<str of length 129>: on the scale 'thumbs' pass one of 'fail', 'pass'"),
        (SEVERITY, True, "value=True: on the scale 'severity' pass one of 'none', 'minor', 'major'"),
        (NOTES, " ", "value=<str of length 1>: on the scale 'notes' pass non-empty text"),
        (NOTES, 5, "value=5: on the scale 'notes' pass non-empty text"),
    ],
)
def test_refusals_name_the_scale_the_value_and_the_fix(scale: Scale, value: object, message: str) -> None:
    for refuses in (scale.check, scale.normalise):
        with pytest.raises(InvalidValue) as error:
            refuses(value)
        assert str(error.value) == message
        assert error.value.field == "value"


def test_a_long_list_of_categories_is_not_all_named() -> None:
    many = Scale.categorical("many", {f"c{number}": number for number in range(11)})

    with pytest.raises(InvalidValue, match=r"'c9', \.\.\.$"):
        many.check("x")


def test_attributes() -> None:
    assert STARS.attributes() == {
        "llm_feedback.scale.name": "stars",
        "llm_feedback.scale.type": "continuous",
        "llm_feedback.scale.min": 1.0,
        "llm_feedback.scale.max": 5.0,
        "llm_feedback.scale.higher_is_better": True,
    }
    assert STARS.attributes(4) == {**STARS.attributes(), "llm_feedback.score.normalized": 0.75}
    assert LATENCY.attributes(60)["llm_feedback.score.normalized"] == 0.0
    assert SEVERITY.attributes("none") == {
        "llm_feedback.scale.name": "severity",
        "llm_feedback.scale.type": "categorical",
        "llm_feedback.scale.min": 0.0,
        "llm_feedback.scale.max": 5.0,
        "llm_feedback.scale.higher_is_better": False,
        "llm_feedback.scale.categories": '[{"value":0.0,"label":"none"},{"value":1.0,"label":"minor"},{"value":5.0,"label":"major"}]',
        "llm_feedback.score.normalized": 1.0,
    }
    assert NOTES.attributes("hello") == {"llm_feedback.scale.name": "notes", "llm_feedback.scale.type": "freeform"}
    assert "llm_feedback.score.normalized" not in OPEN.attributes(5)
    with pytest.raises(InvalidValue, match="'stars'"):
        STARS.attributes(6)


LANGSMITH_CATEGORY = st.fixed_dictionaries({"value": BOUND}, optional={"label": NAME})
LANGSMITH_CONFIG = st.one_of(
    st.fixed_dictionaries({"type": st.just("freeform")}, optional={"min": st.none(), "categories": st.none()}),
    st.builds(
        lambda low, more: {"type": "continuous", "min": low, "max": None if more is None else (low or 0) + more},
        st.none() | BOUND,
        st.none() | st.integers(1, 10**9),
    ),
    st.lists(
        LANGSMITH_CATEGORY, min_size=1, max_size=8, unique_by=lambda each: each.get("label", float(each["value"]))
    ).map(lambda made: {"type": "categorical", "min": None, "max": None, "categories": made}),
)


@given(LANGSMITH_CONFIG, st.sampled_from([None, True, False]))
def test_langsmith_configs_come_out_as_they_went_in(config: dict[str, Any], lower: bool | None) -> None:
    attributes = Scale.from_langsmith("key", config, is_lower_score_better=lower).attributes()

    assert attributes["llm_feedback.scale.name"] == "key"
    assert attributes["llm_feedback.scale.type"] == config["type"]
    assert attributes.get("llm_feedback.scale.higher_is_better") in (None, not lower)
    if config["type"] == "continuous":
        assert attributes.get("llm_feedback.scale.min") == config["min"]
        assert attributes.get("llm_feedback.scale.max") == config["max"]
    if config["type"] == "categorical":
        assert json.loads(str(attributes["llm_feedback.scale.categories"])) == config["categories"]


def test_a_langsmith_category_without_a_label_is_found_by_its_score() -> None:
    scale = Scale.from_langsmith(
        "key", {"type": "categorical", "categories": [{"value": 1}, {"value": 2, "label": "b"}]}
    )

    assert scale.check(1) == Reading(1, None, None)
    assert scale.check("b") == Reading(2, "b", None)
    with pytest.raises(InvalidValue, match="pass one of 1, 'b'"):
        scale.check(3)


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ("continuous", "feedback_config"),
        ({}, "feedback_config.type"),
        ({"type": "ordinal"}, "feedback_config.type"),
        ({"type": ["continuous"]}, "feedback_config.type"),
        ({"type": "continuous", "min": "0"}, "scale.min"),
        ({"type": "continuous", "max": True}, "scale.max"),
        ({"type": "continuous", "min": 1, "max": 1}, "scale.maximum"),
        ({"type": "categorical"}, "feedback_config.categories"),
        ({"type": "categorical", "categories": "abc"}, "feedback_config.categories"),
        ({"type": "categorical", "categories": ["abc"]}, "feedback_config.categories"),
        ({"type": "categorical", "categories": []}, "scale.categories"),
        ({"type": "categorical", "categories": [{"label": "a"}]}, "scale.categories"),
        ({"type": "categorical", "categories": [{"label": 5, "value": 1}]}, "scale.categories"),
        ({"type": "categorical", "categories": [{"value": each} for each in range(100_000)]}, "scale.categories"),
    ],
)
def test_wrong_langsmith_configs(config: Any, field: str) -> None:
    with pytest.raises(InvalidField) as error:
        Scale.from_langsmith("key", config)
    assert error.value.field == field


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("", 0, 1), "scale.name"),
        (("x" * 129, 0, 1), "scale.name"),
        ((5, 0, 1), "scale.name"),
        (("x", 1, 0), "scale.maximum"),
        (("x", 0, 0), "scale.maximum"),
        (("x", -1.7e308, 1.7e308), "scale.maximum"),
        (("x", math.nan, 1), "scale.minimum"),
        (("x", 0, math.inf), "scale.maximum"),
        (("x", "0", 1), "scale.minimum"),
        (("x", 0, 1, "yes"), "scale.higher_is_better"),
    ],
)
def test_wrong_ranges(arguments: Any, field: str) -> None:
    with pytest.raises(InvalidField) as error:
        Scale.continuous(*arguments)
    assert error.value.field == field


@pytest.mark.parametrize(
    "categories",
    [
        {},
        ["a"],
        {"": 1},
        {"a": "1"},
        {"a": True},
        {"a": math.nan},
        {"a": -1.7e308, "b": 1.7e308},
        {1: 1},
        {f"c{number}": number for number in range(65)},
    ],
)
def test_wrong_categories(categories: Any) -> None:
    with pytest.raises(InvalidField, match="categories"):
        Scale.categorical("x", categories)


def test_a_category_given_twice() -> None:
    with pytest.raises(InvalidField, match="each category once"):
        Scale.from_langsmith("x", {"type": "categorical", "categories": [{"value": 1, "label": "a"}] * 2})


def test_names_are_fit_for_the_wire() -> None:
    scale = Scale.categorical("na\ud800me", {Grade.PASS: 1, "b\udfff": 2})

    assert scale.name == "na?me"
    assert json.loads(str(scale.attributes()["llm_feedback.scale.categories"])) == [
        {"value": 1.0, "label": "pass"},
        {"value": 2.0, "label": "b?"},
    ]


def test_scales_are_frozen_values() -> None:
    assert Scale.continuous("stars", 1, 5, whole=True) == STARS
    assert len({STARS, Scale.continuous("stars", 1, 5, whole=True), THUMBS}) == 2
    with pytest.raises(AttributeError):
        STARS.name = "other"  # type: ignore[misc]  # that it is frozen is what is tested
