"""Ratings given as text, and what they mean: one table for the words, one for the forms that hold numbers. Pure.

Only for what is known to be a rating, such as the ``rating`` of a New Relic feedback event: elsewhere "no" is just a word.
A text that is in neither table means nothing here, and stays the label that it is. Words that different people put on
different scales ("fair", "okay", "great") are left out on purpose.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from otel_llm_feedback.feedback.scales import LIKERT_5, STARS, THUMBS, Scale

__all__ = ["FORMS", "OUT_OF_FIVE", "OUT_OF_TEN", "PERCENT", "SENTIMENT", "WORDS", "Rating", "read_rating"]

MAX_LENGTH = 64

SENTIMENT = Scale.categorical("sentiment", {"negative": 0.0, "neutral": 0.5, "positive": 1.0})
OUT_OF_FIVE = Scale.continuous("out_of_5", 0, 5)
OUT_OF_TEN = Scale.continuous("out_of_10", 0, 10)
PERCENT = Scale.continuous("percent", 0, 100)


class Rating(NamedTuple):
    """scale: None for a bare number, which names none. label: the text as the table spells it; no skin tone, one case."""

    scale: Scale | None
    score: float
    label: str


# The words of one row are separated by commas and written as they are after folding: lower case, one space also for "_" and
# "-" between words, no skin tones, no variation selectors.
WORDS: tuple[tuple[Scale, float, str], ...] = (
    (THUMBS, 1, "👍, 👍👍, :+1:, :thumbsup:, up, thumbs up, thumb up, thumbsup, upvote, upvoted"),
    (THUMBS, 0, "👎, 👎👎, :-1:, :thumbsdown:, down, thumbs down, thumb down, thumbsdown, downvote, downvoted"),
    (THUMBS, 1, "good, yes, y, true, right, correct, like, liked, ❤, helpful, useful"),
    (THUMBS, 0, "bad, no, n, false, wrong, incorrect, dislike, disliked, not helpful, unhelpful, not useful, useless"),
    (THUMBS, 1, "pass, passed, accept, accepted, ✅, ✔"),
    (THUMBS, 0, "fail, failed, reject, rejected, ❌, ✖"),
    (SENTIMENT, 1, "positive, happy, 😀, 😃, 😄, 😁, 😊, 🙂, ☺, 😍"),
    (SENTIMENT, 0.5, "neutral, mixed, 😐, 😑"),
    (SENTIMENT, 0, "negative, unhappy, sad, 🙁, ☹, 😞, 😟, 😢, 😠, 😡"),
    (LIKERT_5, 1, "strongly disagree, very dissatisfied, very unsatisfied"),
    (LIKERT_5, 2, "disagree, somewhat disagree, dissatisfied, somewhat dissatisfied, unsatisfied"),
    (LIKERT_5, 3, "neither agree nor disagree, neither satisfied nor dissatisfied, undecided"),
    (LIKERT_5, 4, "agree, somewhat agree, satisfied, somewhat satisfied"),
    (LIKERT_5, 5, "strongly agree, very satisfied"),
)

_NUMBER = r"([0-9]{1,4}(?:[.,][0-9]{1,2})?)"

# "n of m" counts from nothing, so 0/5 is on its scale and 4/5 is 0.8, while stars begin at one.
FORMS: tuple[tuple[Scale | None, str, str], ...] = (
    (None, "a bare number: 7, -1, 4.5", r"([+-]?[0-9]{1,6}(?:\.[0-9]{1,6})?)"),
    (STARS, "5 stars, 4 / 5 stars, 3 ⭐", r"([0-9])(?: ?(?:/|out of|of) ?5)? ?(?:stars?|★|⭐)"),
    (STARS, "★★★★☆, ★★★★, ⭐⭐⭐", r"(★{1,5}|⭐{1,5})☆{0,4}"),
    (OUT_OF_FIVE, "4/5, 4.5 out of 5", _NUMBER + r" ?(?:/|out of|of) ?5"),
    (OUT_OF_TEN, "7/10, 7 out of 10", _NUMBER + r" ?(?:/|out of|of) ?10"),
    (PERCENT, "80%, 80/100, 80 percent", _NUMBER + r" ?(?:%|percent|(?:/|out of|of) ?100)"),
)

_SCORES = {word: (scale, float(score)) for scale, score, words in WORDS for word in words.split(", ")}
_PATTERNS = tuple((scale, re.compile(pattern)) for scale, _, pattern in FORMS)
_UNSEEN = dict.fromkeys([0xFE0E, 0xFE0F, *range(0x1F3FB, 0x1F400)])
"""Variation selectors and skin tones (Unicode Technical Standard 51): they change how a sign looks, not what it says."""
_JOINED = re.compile(r"(?<=[a-z])[_-](?=[a-z])")


def read_rating(text: str) -> Rating | None:
    """What ``text`` says as a rating; None if it is in no table, beyond its scale, or longer than 64 characters."""
    if len(text) > MAX_LENGTH:
        return None
    folded = _fold(text)
    if folded in _SCORES:
        return Rating(*_SCORES[folded], folded)
    for scale, pattern in _PATTERNS:
        if match := pattern.fullmatch(folded):
            return _on_scale(scale, match, folded)
    return None


def _fold(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text).casefold().translate(_UNSEEN)
    return " ".join(_JOINED.sub(" ", plain).split()).rstrip("!. ")


def _on_scale(scale: Scale | None, match: re.Match[str], label: str) -> Rating | None:
    given = match[1]
    score = float(len(given)) if given[0] in "★⭐" else float(given.replace(",", "."))
    if scale is None:
        return Rating(None, score, label)
    if "☆" in label and len(label) != 5:
        return None
    low, high = scale.minimum, scale.maximum
    inside = low is not None and high is not None and low <= score <= high
    return Rating(scale, score, label) if inside else None
