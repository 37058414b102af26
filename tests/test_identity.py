from __future__ import annotations

import hashlib
import re
import uuid

from hypothesis import given
from hypothesis import strategies as st

from otel_llm_feedback.identity import derived_id, pseudonym, random_id

KEY, OTHER = b"k" * 32, b"o" * 32
PLAIN = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False)


@given(st.text())
def test_pseudonyms(user: str) -> None:
    found = pseudonym(KEY, user)
    assert re.fullmatch("[0-9a-f]{64}", found)
    assert found == pseudonym(KEY, user) != pseudonym(OTHER, user)
    assert found != hashlib.sha256(user.encode("utf-8", "replace")).hexdigest()


def test_pseudonyms_stay_the_same_over_releases() -> None:
    assert pseudonym(b"key", "ann") == "16bae1c68890fa99ea97df46b068098ab8004cda34ac88d6a7de5fb7d9d97b4d"
    assert derived_id(b"key", "trace", "name", "ann") == "be3539fd-fdca-8df6-ad53-0797d0c3f3b0"


def test_different_users_differ() -> None:
    assert len({pseudonym(KEY, f"user{number}") for number in range(1000)}) == 1000


@given(st.lists(PLAIN), st.lists(PLAIN))
def test_derived_ids_tell_parts_apart(one: list[object], other: list[object]) -> None:
    same = [(type(each), repr(each)) for each in one] == [(type(each), repr(each)) for each in other]
    assert (derived_id(KEY, *one) == derived_id(KEY, *other)) is same


def test_derived_ids_need_the_key() -> None:
    assert derived_id(KEY, "a") != derived_id(OTHER, "a")
    assert derived_id(KEY, "ab", "c") != derived_id(KEY, "a", "bc") != derived_id(KEY, "abc")
    assert derived_id(KEY, ("a", "b")) != derived_id(KEY, "a", "b")


def test_a_pseudonym_is_never_an_id() -> None:
    assert derived_id(KEY, "ann").replace("-", "") != pseudonym(KEY, "ann")[:32]


@given(st.text())
def test_ids_are_uuids(part: str) -> None:
    derived = uuid.UUID(derived_id(KEY, part))
    assert (derived.version, derived.variant, str(derived)) == (8, uuid.RFC_4122, derived_id(KEY, part))


def test_random_ids_are_uuids_and_differ() -> None:
    found = {random_id() for _ in range(1000)}
    assert len(found) == 1000
    assert {uuid.UUID(each).version for each in found} == {4}
    assert {uuid.UUID(each).variant for each in found} == {uuid.RFC_4122}
