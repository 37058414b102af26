from __future__ import annotations

from pathlib import Path

import pytest

from tests.delivery.spooling import drain_directory, running


@pytest.mark.parametrize(
    "stage", ["before_use", "with_pending", "grandchild", "after_close", "while_others_put", "without_hooks"]
)
def test_a_fork_loses_nothing_and_doubles_nothing(tmp_path: Path, stage: str) -> None:
    with running("forker", stage, tmp_path) as process:
        said, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert sorted(drain_directory(tmp_path)) == sorted(said.split())
    assert list(tmp_path.iterdir()) == []


def test_a_child_claims_the_file_of_its_dead_parent_only_if_it_may(tmp_path: Path) -> None:
    with running("forker", "orphaned_child", tmp_path) as process:
        said, _ = process.communicate(timeout=60)

    assert process.returncode == 0
    assert "ok 5" in said.splitlines()
    assert "ok 0" in said.splitlines()
    assert drain_directory(tmp_path / "0") == [f"parent0-{n}" for n in range(5)]
