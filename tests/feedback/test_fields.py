from __future__ import annotations

import enum
import fractions
import json
import math
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_llm_feedback import InvalidField, InvalidValue
from otel_llm_feedback.feedback.fields import clean_metadata, clean_score, clean_text, clean_time, required_text

NOON = datetime(2026, 1, 2, 12, 0, 0, 250_000, tzinfo=timezone.utc)
NOON_NS = 1_767_355_200_250_000_000
MOMENTS = st.builds(
    lambda microseconds, minutes: (
        datetime.fromtimestamp(0, timezone.utc) + timedelta(microseconds=microseconds)
    ).astimezone(timezone(timedelta(minutes=minutes))),
    st.integers(10**14, 2**63 // 1000),
    st.integers(-1439, 1439),
)
"""Aware datetimes from 1973 to 2262, in any offset."""


class Colour(str, enum.Enum):
    RED = "red"


class Stars(enum.IntEnum):
    FIVE = 5


class TestScore:
    @pytest.mark.parametrize(
        ("value", "label", "expected"),
        [
            (True, None, (1.0, "pass")),
            (False, None, (0.0, "fail")),
            (True, "liked", (1.0, "liked")),
            (False, "disliked", (0.0, "disliked")),
            (4, None, (4.0, None)),
            (-0.5, None, (-0.5, None)),
            (4, "good", (4.0, "good")),
            (Stars.FIVE, None, (5.0, None)),
            (fractions.Fraction(1, 2), None, (0.5, None)),
            ("good", None, (None, "good")),
            ("good", "good", (None, "good")),
            (Colour.RED, None, (None, "red")),
            (None, "good", (None, "good")),
            (None, None, (None, None)),
            ("x" * 128, None, (None, "x" * 128)),
        ],
    )
    def test_what_value_and_label_mean(self, value: object, label: object, expected: tuple[object, object]) -> None:
        score, text = clean_score(value, label)

        assert (score, text) == expected
        assert type(score) in (float, type(None))
        assert type(text) in (str, type(None))

    @pytest.mark.parametrize(
        ("value", "label", "field", "fix"),
        [
            (math.nan, None, "value", "finite"),
            (math.inf, None, "value", "finite"),
            (-math.inf, None, "value", "finite"),
            (2**63, None, "value", "64 bits"),
            (-(2**63) - 1, None, "value", "64 bits"),
            (fractions.Fraction(10**400), None, "value", "float"),
            (Decimal("4.5"), None, "value", "a bool, a number, a short text"),
            (b"good", None, "value", "a bool, a number, a short text"),
            ([1], None, "value", "a bool, a number, a short text"),
            (1j, None, "value", "a bool, a number, a short text"),
            ("", None, "value", "non-empty"),
            (" \n", None, "value", "non-empty"),
            ("x" * 129, None, "value", "comment="),
            ("good", "bad", "label", "one of them"),
            (1, "", "label", "non-empty"),
            (1, 5, "label", "text"),
            (1, True, "label", "text"),
            (None, "x" * 129, "label", "at most 128"),
        ],
    )
    def test_what_they_cannot_mean(self, value: object, label: object, field: str, fix: str) -> None:
        with pytest.raises(InvalidValue, match=fix) as caught:
            clean_score(value, label)
        assert caught.value.field == field

    @given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**63 - 1))
    def test_every_other_number_stays_what_it_is(self, value: float) -> None:
        assert clean_score(value, None) == (float(value), None)


class TestRequiredText:
    @pytest.mark.parametrize("value", ["", "   ", "\t\n", None, 5, True, b"x", ["x"]])
    def test_it_must_be_there(self, value: object) -> None:
        with pytest.raises(InvalidField) as caught:
            required_text("name", value, 10)
        assert caught.value.field == "name"

    def test_it_is_refused_rather_than_cut_and_not_shown(self) -> None:
        with pytest.raises(InvalidField, match="at most 10") as caught:
            required_text("name", "my number is 0049170", 10)
        assert "0049170" not in str(caught.value)

    @given(st.text(st.characters(), min_size=1))
    def test_what_comes_out_can_be_encoded(self, value: str) -> None:
        try:
            cleaned = required_text("name", value, 1000)
        except InvalidField:
            assert not value.strip()
        else:
            cleaned.encode()
            assert len(cleaned) == len(value)
            assert cleaned == value or "?" in cleaned


class TestText:
    def test_a_text_that_fits_is_not_touched(self) -> None:
        marks: list[str] = []
        assert clean_text("comment", "g\u00fcnstig \N{THUMBS UP SIGN}", 10, marks) == "g\u00fcnstig \N{THUMBS UP SIGN}"
        assert marks == []

    def test_a_long_one_is_cut_and_marked_with_its_length(self) -> None:
        marks: list[str] = []
        assert clean_text("comment", "x" * 11, 10, marks) == "x" * 10
        assert marks == ["comment:11"]

    def test_lone_surrogates_are_replaced_and_marked(self) -> None:
        marks: list[str] = []
        assert clean_text("comment", "a\ud800b", 10, marks) == "a?b"
        assert marks == ["comment:3"]

    def test_a_member_of_a_text_enum_is_its_value(self) -> None:
        assert type(clean_text("comment", Colour.RED, 10, [])) is str

    @pytest.mark.parametrize("value", [5, b"x", ["x"], object(), 0, False])
    def test_nothing_else_is_text(self, value: object) -> None:
        with pytest.raises(InvalidField, match="comment="):
            clean_text("comment", value, 10, [])

    @given(st.text(st.characters()), st.integers(0, 20))
    def test_cutting(self, value: str, limit: int) -> None:
        marks: list[str] = []
        cleaned = clean_text("comment", value, limit, marks)

        cleaned.encode()
        assert len(cleaned) == min(len(value), limit)
        assert marks == ([] if cleaned == value else [f"comment:{len(value)}"])


class NoOffset(tzinfo):
    def utcoffset(self, when: datetime | None) -> timedelta | None:
        return None

    def dst(self, when: datetime | None) -> timedelta | None:
        return None

    def tzname(self, when: datetime | None) -> str | None:
        return None


class TestTime:
    @pytest.mark.parametrize(
        "at",
        [
            NOON,
            NOON.astimezone(timezone(timedelta(hours=-7))),
            NOON_NS,
        ],
    )
    def test_one_moment_however_it_is_given(self, at: object) -> None:
        assert clean_time(at) == NOON_NS

    def test_no_time_is_no_time(self) -> None:
        assert clean_time(None) is None

    @pytest.mark.parametrize(
        ("at", "fix"),
        [
            (NOON.replace(tzinfo=None), "time zone"),
            (NOON.replace(tzinfo=NoOffset()), "time zone"),
            (NOON_NS / 1e9, "aware datetime"),
            ("2026-01-02T12:00:00Z", "aware datetime"),
            (True, "aware datetime"),
            (NOON.date(), "aware datetime"),
            (0, "nanoseconds"),
            (-NOON_NS, "nanoseconds"),
            (NOON_NS // 10**9, "nanoseconds"),
            (NOON_NS // 10**6, "nanoseconds"),
            (NOON_NS // 10**3, "nanoseconds"),
            (2**63, "nanoseconds"),
            (datetime(1970, 1, 2, tzinfo=timezone.utc), "nanoseconds"),
            (datetime.max.replace(tzinfo=timezone.utc), "nanoseconds"),
        ],
    )
    def test_what_is_no_time(self, at: object, fix: str) -> None:
        with pytest.raises(InvalidField, match=fix) as caught:
            clean_time(at)
        assert caught.value.field == "at"

    @given(MOMENTS)
    def test_microseconds_are_kept(self, at: datetime) -> None:
        nanoseconds = clean_time(at)
        assert nanoseconds is not None
        assert datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=nanoseconds // 1000) == at
        assert nanoseconds % 1000 == 0


def metadata(given: object, max_keys: int = 32, max_length: int = 100) -> tuple[dict[str, Any], list[str]]:
    marks: list[str] = []
    return clean_metadata(given, max_keys, max_length, marks), marks


class Lazy(Mapping[str, object]):
    """A mapping that is not a dict."""

    def __getitem__(self, key: str) -> object:
        return key.upper()

    def __iter__(self) -> Iterator[str]:
        return iter("ab")

    def __len__(self) -> int:
        return 2


class TestMetadata:
    def test_none(self) -> None:
        assert metadata(None) == ({}, [])

    def test_every_kind_of_value(self) -> None:
        given = {
            "text": "x",
            "yes": True,
            "int": 2**63 - 1,
            "float": 0.5,
            "none": None,
            "list": [1, "a", None],
            "dict": {"a": {"b": [1.5]}},
            "tuple": (1, 2),
            "stars": Stars.FIVE,
            "colour": Colour.RED,
            "A.b_c-9": "k",
        }
        cleaned, marks = metadata(given)

        assert cleaned == {
            "text": "x",
            "yes": True,
            "int": 2**63 - 1,
            "float": 0.5,
            "list": '[1,"a",null]',
            "dict": '{"a":{"b":[1.5]}}',
            "tuple": "[1,2]",
            "stars": 5,
            "colour": "red",
            "A.b_c-9": "k",
        }
        assert {type(value) for value in cleaned.values()} == {str, bool, int, float}
        assert type(cleaned["yes"]) is bool
        assert marks == []

    def test_any_mapping_will_do(self) -> None:
        assert metadata(Lazy()) == ({"a": "A", "b": "B"}, [])

    def test_values_are_cut_one_by_one(self) -> None:
        cleaned, marks = metadata({"a": "x" * 101, "b": ["y" * 100], "c": "z"})

        assert cleaned == {"a": "x" * 100, "b": '["' + "y" * 98, "c": "z"}
        assert marks == ["metadata.a:101", "metadata.b:104"]

    def test_keys_beyond_the_limit_are_dropped(self) -> None:
        cleaned, marks = metadata({f"k{n}": n for n in range(10_000)}, max_keys=3)

        assert cleaned == {"k0": 0, "k1": 1, "k2": 2}
        assert marks == ["metadata:10000"]

    def test_exactly_as_many_as_allowed_is_not_too_many(self) -> None:
        assert metadata({"a": 1, "b": 2}, max_keys=2) == ({"a": 1, "b": 2}, [])

    @pytest.mark.parametrize("key", ["", "a b", "a\n", "\u00e4", "a/b", "x" * 65, "\ud800", "a:b"])
    def test_keys_that_are_no_names(self, key: str) -> None:
        with pytest.raises(InvalidField, match="1 to 64 letters") as caught:
            metadata({key: 1})
        assert caught.value.field == "metadata"

    @pytest.mark.parametrize("key", [1, None, b"a", ("a",), True])
    def test_keys_that_are_no_text(self, key: object) -> None:
        with pytest.raises(InvalidField, match="text as keys"):
            metadata({key: 1})

    def test_the_longest_key(self) -> None:
        assert metadata({"x" * 64: 1}) == ({"x" * 64: 1}, [])

    @pytest.mark.parametrize("given", ["text", 5, [("a", 1)], b"{}", {"a"}, object()])
    def test_only_mappings(self, given: object) -> None:
        with pytest.raises(InvalidField, match="mapping"):
            metadata(given)

    @pytest.mark.parametrize(
        ("value", "fix"),
        [
            (2**63, "64 bits"),
            (-(2**63) - 1, "64 bits"),
            pytest.param(10**5000, "64 bits", id="an int too long to print"),
            (math.nan, "finite"),
            (math.inf, "finite"),
            (b"bytes", "lists and dicts"),
            ({"a", "b"}, "lists and dicts"),
            (object(), "lists and dicts"),
            ([math.nan], "lists and dicts"),
            ({"k": object()}, "lists and dicts"),
            ({(1, 2): 3}, "lists and dicts"),
        ],
    )
    def test_values_that_cannot_be_sent(self, value: object, fix: str) -> None:
        with pytest.raises(InvalidField, match=fix) as caught:
            metadata({"k": value})
        assert caught.value.field == "metadata.k"

    def test_cycles_and_depth(self) -> None:
        cyclic: list[object] = []
        cyclic.append(cyclic)
        deep: list[object] = []
        for _ in range(100_000):
            deep = [deep]
        for value in (cyclic, deep):
            with pytest.raises(InvalidField, match="cyclic nor deeply nested"):
                metadata({"k": value})

    def test_neither_cut_nor_refused_values_are_shown(self) -> None:
        for value in (2**64, ["hunter2", object()], {"hunter2"}):
            with pytest.raises(InvalidField) as caught:
                metadata({"k": value})
            assert "hunter2" not in str(caught.value)
            assert str(2**64) not in str(caught.value)

    @given(
        st.dictionaries(
            st.from_regex(r"[A-Za-z0-9_.-]{1,8}", fullmatch=True),
            st.recursive(
                st.none()
                | st.booleans()
                | st.integers(-(2**63), 2**63 - 1)
                | st.floats(allow_nan=False, allow_infinity=False)
                | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
                max_leaves=5,
            ),
            max_size=8,
        )
    )
    def test_what_fits_arrives_as_it_was(self, given: dict[str, Any]) -> None:
        cleaned, marks = metadata(given, max_length=10_000)

        assert marks == []
        assert cleaned.keys() == {key for key, value in given.items() if value is not None}
        for key, value in cleaned.items():
            if isinstance(given[key], (list, dict)):
                assert json.loads(value) == given[key]
            else:
                assert value == given[key]
                assert type(value) is type(given[key])
