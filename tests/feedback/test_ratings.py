# ruff: noqa: RUF001 - signs that look like others are what is tested
from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_llm_feedback.feedback.ratings import (
    FORMS,
    OUT_OF_FIVE,
    OUT_OF_TEN,
    PERCENT,
    SENTIMENT,
    WORDS,
    Rating,
    read_rating,
)
from otel_llm_feedback.feedback.scales import LIKERT_5, STARS, THUMBS, Scale

ALL_WORDS = [(word, scale, score) for scale, score, words in WORDS for word in words.split(", ")]


@pytest.mark.parametrize(("word", "scale", "score"), ALL_WORDS)
def test_every_word_of_the_table_can_be_found(word: str, scale: Scale, score: float) -> None:
    assert read_rating(word) == Rating(scale, score, word)
    assert read_rating(f"  {word.upper()}!\n") == Rating(scale, score, word)
    assert scale.normalise(score) is not None


def test_no_word_is_in_the_table_twice() -> None:
    words = [word for word, _, _ in ALL_WORDS]

    assert len(set(words)) == len(words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Good", Rating(THUMBS, 1, "good")),
        ("Bad", Rating(THUMBS, 0, "bad")),
        ("👍", Rating(THUMBS, 1, "👍")),
        ("👍🏿", Rating(THUMBS, 1, "👍")),
        ("👎🏻", Rating(THUMBS, 0, "👎")),
        ("👍\ufe0f", Rating(THUMBS, 1, "👍")),
        ("❤\ufe0f", Rating(THUMBS, 1, "❤")),
        ("☹\ufe0e", Rating(SENTIMENT, 0, "☹")),
        ("Thumbs_Up", Rating(THUMBS, 1, "thumbs up")),
        ("thumbs-down", Rating(THUMBS, 0, "thumbs down")),
        ("Not  Helpful.", Rating(THUMBS, 0, "not helpful")),
        ("ＹＥＳ", Rating(THUMBS, 1, "yes")),
        ("STRONGLY AGREE", Rating(LIKERT_5, 5, "strongly agree")),
        ("Positive", Rating(SENTIMENT, 1, "positive")),
        ("neutral", Rating(SENTIMENT, 0.5, "neutral")),
        ("7/10", Rating(OUT_OF_TEN, 7, "7/10")),
        ("7 / 10", Rating(OUT_OF_TEN, 7, "7 / 10")),
        ("7.5 out of 10", Rating(OUT_OF_TEN, 7.5, "7.5 out of 10")),
        ("0/10", Rating(OUT_OF_TEN, 0, "0/10")),
        ("4/5", Rating(OUT_OF_FIVE, 4, "4/5")),
        ("4,5 / 5", Rating(OUT_OF_FIVE, 4.5, "4,5 / 5")),
        ("４／５", Rating(OUT_OF_FIVE, 4, "4/5")),
        ("5 stars", Rating(STARS, 5, "5 stars")),
        ("1 Star", Rating(STARS, 1, "1 star")),
        ("4/5 stars", Rating(STARS, 4, "4/5 stars")),
        ("3 of 5 stars", Rating(STARS, 3, "3 of 5 stars")),
        ("5⭐", Rating(STARS, 5, "5⭐")),
        ("★★★★☆", Rating(STARS, 4, "★★★★☆")),
        ("★★", Rating(STARS, 2, "★★")),
        ("⭐️⭐️⭐️", Rating(STARS, 3, "⭐⭐⭐")),
        ("80%", Rating(PERCENT, 80, "80%")),
        ("80 percent", Rating(PERCENT, 80, "80 percent")),
        ("80/100", Rating(PERCENT, 80, "80/100")),
        ("12.5 %", Rating(PERCENT, 12.5, "12.5 %")),
        ("7", Rating(None, 7, "7")),
        ("-1", Rating(None, -1, "-1")),
        ("+1", Rating(None, 1, "+1")),
        ("4.25", Rating(None, 4.25, "4.25")),
    ],
)
def test_what_ratings_mean(text: str, expected: Rating) -> None:
    assert read_rating(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "!", "maybe", "good enough", "okay", "great", "goodbye", "yes no", "👍👎", "\ud800", "up/down"),
        *("11/10", "6/5", "101%", "0 stars", "6 stars", "4.5 stars", "7/0", "7/11", "4/20", "-1/10", "2024-01-15"),
        *("★★★★★★", "★★☆", "★★★★★☆", "☆☆☆☆☆", "★⭐", "1e5", "nan", "inf", "٧/١٠", "1,000", "1/2/5", "5 ★★★★★"),
        *("good" + " " * 61, "1" * 65, "9" * 7),
    ],
)
def test_what_is_in_no_table_means_nothing(text: str) -> None:
    assert read_rating(text) is None


def test_every_form_says_what_it_reads() -> None:
    for scale, examples, _ in FORMS:
        for example in examples.removeprefix("a bare number: ").split(", "):
            found = read_rating(example)
            assert found is not None
            assert found.scale == scale


@given(st.text(max_size=80) | st.text("0123456789.,/ %+-★☆⭐stars outof5", max_size=64))
def test_no_text_fails_and_every_score_is_on_its_scale(text: str) -> None:
    found = read_rating(text)

    if found is not None:
        assert len(found.label) <= 128
        if found.scale is not None:
            assert found.scale.check(found.score).score == found.score
        assert read_rating(found.label) == found


def test_a_long_text_is_not_even_looked_at() -> None:
    long = "🂱ﷺ" * 10_000_000
    start = time.thread_time()

    assert read_rating(long) is None
    assert time.thread_time() - start < 0.1
