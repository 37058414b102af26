"""The scales that feedback is given on: what may be said on each, and where that lies between worst and best. Pure.

A scale is never guessed: a number without one is just a number.

    THUMBS             two categories: True or ``pass`` is 1, False or ``fail`` is 0
    STARS              1 .. 5, whole
    NPS                0 .. 10, whole                   (Net Promoter Score: "how likely are you to recommend")
    LIKERT_5           1 .. 5, whole                    (from "strongly disagree" to "strongly agree")
    LIKERT_7           1 .. 7, whole                    (the same)
    MINUS_TEN_TO_TEN   -10 .. 10, whole                 (what Portkey's feedback API takes)
    UNIT               0 .. 1
    ONE_TO_TEN         1 .. 10                          (fractions too: judges that average give them)

Others are made by `Scale.continuous`, `Scale.categorical`, `Scale.freeform` and `Scale.from_langsmith`. A whole-number scale
takes 4 and 4.0, not 3.5: half a star is a mistake, or another scale.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal, NamedTuple

from otel_llm_feedback import attributes as names
from otel_llm_feedback.errors import InvalidField, InvalidValue

__all__ = [
    "LIKERT_5",
    "LIKERT_7",
    "MINUS_TEN_TO_TEN",
    "NPS",
    "ONE_TO_TEN",
    "STARS",
    "THUMBS",
    "UNIT",
    "Category",
    "Reading",
    "Scale",
]

MAX_TEXT = 128
MAX_CATEGORIES = 64

TYPES = ("continuous", "categorical", "freeform")


class Category(NamedTuple):
    """One answer of a categorical scale. LangSmith's may lack the label."""

    label: str | None
    score: float


class Reading(NamedTuple):
    """What a value means on a scale: a score, a label, both, or (freeform) a text, which is no label."""

    score: float | None
    label: str | None
    text: str | None


@dataclass(frozen=True)
class Scale:
    """One scale; make it by a constructor that checks its parts, not by hand.

    name: up to 128 characters. type: LangSmith's three. minimum, maximum: bounds of the score, both included; None: unbounded,
    and then no score can be normalised. higher_is_better: None on a freeform scale, which has no direction.
    whole: whole numbers only. categories: the answers of a categorical scale, in the order in which they are shown.
    """

    name: str
    type: Literal["continuous", "categorical", "freeform"]
    minimum: float | None = None
    maximum: float | None = None
    higher_is_better: bool | None = None
    whole: bool = False
    categories: tuple[Category, ...] = ()

    @classmethod
    def continuous(
        cls,
        name: str,
        minimum: float | None,
        maximum: float | None,
        higher_is_better: bool = True,
        *,
        whole: bool = False,
    ) -> Scale:
        """Numbers from ``minimum`` to ``maximum``. Raises InvalidField."""
        low, high = _bound("minimum", minimum), _bound("maximum", maximum)
        if low is not None and high is not None and not 0 < high - low < math.inf:
            raise InvalidField("scale.maximum", high, f"pass a number above the minimum {low:g}, not infinitely far")
        return cls(_text("name", name), "continuous", low, high, _direction(higher_is_better), whole)

    @classmethod
    def categorical(cls, name: str, categories: Mapping[str, float], higher_is_better: bool = True) -> Scale:
        """A choice among labels (up to 64), each with a score. Raises InvalidField."""
        if not isinstance(categories, Mapping):
            raise InvalidField("scale.categories", categories, "pass a mapping from labels to scores")
        return cls._of_categories(name, categories.items(), higher_is_better)

    @classmethod
    def _of_categories(cls, name: str, pairs: Iterable[tuple[object, object]], higher_is_better: bool) -> Scale:
        made = tuple(
            Category(None if label is None else _text("categories", label), _finite("categories", score))
            for label, score in pairs
        )
        if not 1 <= len(made) <= MAX_CATEGORIES:
            raise InvalidField("scale.categories", len(made), f"pass 1 to {MAX_CATEGORIES} categories")
        known = [each.label if each.label is not None else each.score for each in made]
        if len(set(known)) < len(known):
            raise InvalidField("scale.categories", known, "pass each category once")
        scores = [each.score for each in made]
        if max(scores) - min(scores) == math.inf:
            raise InvalidField("scale.categories", scores, "pass scores that are not infinitely far apart")
        direction = _direction(higher_is_better)
        return cls(_text("name", name), "categorical", min(scores), max(scores), direction, categories=made)

    @classmethod
    def freeform(cls, name: str) -> Scale:
        """Text without a score. Raises InvalidField."""
        return cls(_text("name", name), "freeform")

    @classmethod
    def from_langsmith(
        cls, name: str, config: Mapping[str, object], *, is_lower_score_better: bool | None = None
    ) -> Scale:
        """LangSmith's ``FeedbackConfig``: ``{"type", "min", "max", "categories": [{"value", "label"}]}``.

        Only type is required. min and max hold for continuous feedback, categories for categorical, as in LangSmith.
        is_lower_score_better: LangSmith keeps it beside the config; None means no. Raises InvalidField.
        """
        if not isinstance(config, Mapping):
            raise InvalidField("feedback_config", config, "pass a mapping with a type")
        kind = config.get("type")
        better = not is_lower_score_better
        if kind == "continuous":
            return cls.continuous(name, _bound("min", config.get("min")), _bound("max", config.get("max")), better)
        if kind == "categorical":
            return cls._of_categories(name, _langsmith_categories(config.get("categories")), better)
        if kind == "freeform":
            return cls.freeform(name)
        raise InvalidField("feedback_config.type", kind, f"use one of {', '.join(TYPES)}")

    def check(self, value: object) -> Reading:
        """What ``value`` means on this scale. Raises InvalidValue, which names the scale, the value and what to pass."""
        if self.type == "freeform":
            if not isinstance(value, str) or not value.strip():
                raise self._refused(value)
            return Reading(None, None, value)
        if self.type == "categorical":
            return self._category(value)
        return Reading(self._score(value), None, None)

    def normalise(self, value: object) -> float | None:
        """Where ``value`` lies between worst (0) and best (1), also where lower scores are better.

        None where that has no meaning: on freeform and unbounded scales, and on one with a single score.
        Raises InvalidValue as `check` does.
        """
        score = self.check(value).score
        if score is None or self.minimum is None or self.maximum is None or self.minimum == self.maximum:
            return None
        position = (score - self.minimum) / (self.maximum - self.minimum)
        return position if self.higher_is_better else 1.0 - position

    def attributes(self, value: object = None) -> dict[str, str | bool | float]:
        """The attributes of an event that was given on this scale; with ``value``, the normalised score among them.

        Categories are JSON in LangSmith's form, ``[{"value": 1.0, "label": "pass"}]``. Raises InvalidValue as `check` does.
        """
        made = {
            names.SCALE_NAME: self.name,
            names.SCALE_TYPE: self.type,
            names.SCALE_MIN: self.minimum,
            names.SCALE_MAX: self.maximum,
            names.SCALE_HIGHER_IS_BETTER: self.higher_is_better,
            names.SCALE_CATEGORIES: _as_json(self.categories) if self.categories else None,
            names.SCORE_NORMALIZED: None if value is None else self.normalise(value),
        }
        return {name: each for name, each in made.items() if each is not None}

    def _category(self, value: object) -> Reading:
        """By label, or by score; a choice between 0 and 1 is also made by a bool."""
        if isinstance(value, str):
            found = [each for each in self.categories if each.label == value]
        else:
            two_way = {each.score for each in self.categories} == {0.0, 1.0}
            number = float(value) if isinstance(value, bool) and two_way else _number(value)
            found = [each for each in self.categories if each.score == number]
        if not found:
            raise self._refused(value)
        return Reading(found[0].score, found[0].label, None)

    def _score(self, value: object) -> float:
        number = _number(value)
        if number is None or (self.whole and not number.is_integer()):
            raise self._refused(value)
        if (self.minimum is not None and number < self.minimum) or (self.maximum is not None and number > self.maximum):
            raise self._refused(value)
        return number

    def _refused(self, value: object) -> InvalidValue:
        # What is neither a number nor a short label is likely to be what somebody wrote, so it stays out of the message.
        label = isinstance(value, str) and self.type == "categorical" and len(value) <= MAX_TEXT
        private = not label and not isinstance(value, (bool, int, float, type(None)))
        return InvalidValue("value", value, f"on the scale {self.name!r} pass {self._expected()}", private=private)

    def _expected(self) -> str:
        if self.type == "freeform":
            return "non-empty text"
        if self.type == "categorical":
            shown = [repr(each.label) if each.label is not None else f"{each.score:g}" for each in self.categories]
            return "one of " + ", ".join(shown[:10]) + (", ..." if len(shown) > 10 else "")
        kind = "a whole number" if self.whole else "a number"
        low = "" if self.minimum is None else f" from {self.minimum:g}"
        high = " up" if self.maximum is None and low else "" if self.maximum is None else f" to {self.maximum:g}"
        return f"{kind}{low}{high}" if low or high else "a finite number"


def _number(value: object) -> float | None:
    """A finite float from a real number; None for all else, also for a bool."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Real)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _bound(part: str, value: object) -> float | None:
    return None if value is None else _finite(part, value)


def _finite(part: str, value: object) -> float:
    number = _number(value)
    if number is None:
        raise InvalidField(f"scale.{part}", value, "pass a finite number as a score or a bound")
    return number


def _text(part: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_TEXT:
        raise InvalidField(f"scale.{part}", value, f"pass a text of 1 to {MAX_TEXT} characters as a name or a label")
    return str.__str__(value).encode("utf-8", "replace").decode()


def _direction(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidField("scale.higher_is_better", value, "pass True or False")
    return value


def _langsmith_categories(categories: object) -> Iterable[tuple[object, object]]:
    if not isinstance(categories, Sequence) or isinstance(categories, (str, bytes)):
        raise InvalidField("feedback_config.categories", categories, 'pass a list of {"value": ..., "label": ...}')
    for each in categories[: MAX_CATEGORIES + 1]:
        if not isinstance(each, Mapping):
            raise InvalidField(
                "feedback_config.categories", each, 'pass {"value": ..., "label": ...} for each category'
            )
        yield each.get("label"), each.get("value")


def _as_json(categories: tuple[Category, ...]) -> str:
    made = [
        {"value": each.score} if each.label is None else {"value": each.score, "label": each.label}
        for each in categories
    ]
    return json.dumps(made, ensure_ascii=False, separators=(",", ":"))


THUMBS = Scale.categorical("thumbs", {"fail": 0.0, "pass": 1.0})
STARS = Scale.continuous("stars", 1, 5, whole=True)
NPS = Scale.continuous("nps", 0, 10, whole=True)
LIKERT_5 = Scale.continuous("likert_5", 1, 5, whole=True)
LIKERT_7 = Scale.continuous("likert_7", 1, 7, whole=True)
MINUS_TEN_TO_TEN = Scale.continuous("minus_ten_to_ten", -10, 10, whole=True)
UNIT = Scale.continuous("unit", 0, 1)
ONE_TO_TEN = Scale.continuous("one_to_ten", 1, 10)
