"""Run as ``python -m``: forks around a spool. Prints what every process put; exits with 0 if nothing went wrong."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable

from otel_llm_feedback.delivery.spool import Signal, Spool


def say(word: str) -> None:
    os.write(1, f"{word}\n".encode())


def open_spool(directory: str) -> Spool:
    return Spool(directory, max_bytes=1 << 30, max_age_seconds=1e6)


def put(spool: Spool, prefix: str, count: int = 5) -> None:
    for number in range(count):
        spool.put(Signal.LOGS, f"{prefix}-{number}".encode(), precious=True)
        say(f"{prefix}-{number}")


def in_child(work: Callable[[], object], fork: Callable[[], int] = os.fork) -> int:
    child = fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return child


def join(child: int) -> None:
    _, status = os.waitpid(child, 0)
    assert status == 0, status


def before_use(directory: str) -> None:
    spool = open_spool(directory)
    join(in_child(lambda: put(spool, "child")))
    put(spool, "parent")
    spool.close()


def with_pending(directory: str) -> None:
    spool = open_spool(directory)
    put(spool, "early")

    def work() -> None:
        assert not spool.batch(Signal.LOGS, 1 << 20, 10), "the parent's records are the parent's"
        assert spool.claim_orphans() == 0, "its file too"
        put(spool, "child")
        assert len(spool.batch(Signal.LOGS, 1 << 20, 10)) == 5
        spool.close()

    join(in_child(work))
    put(spool, "late")
    spool.claim_orphans()
    assert len(spool.batch(Signal.LOGS, 1 << 20, 100)) == 5, "the orphan's, which are older"
    assert spool.stats().records[Signal.LOGS] == 15
    spool.close()


def grandchild(directory: str) -> None:
    spool = open_spool(directory)
    put(spool, "parent")

    def work() -> None:
        put(spool, "child")
        join(in_child(lambda: put(spool, "grandchild")))
        put(spool, "child-again")

    join(in_child(work))
    spool.close()


def after_close(directory: str) -> None:
    spool = open_spool(directory)
    put(spool, "parent")
    spool.close()
    join(in_child(spool.close))


def while_others_put(directory: str) -> None:
    """A fork while other threads are inside the spool leaves no lock behind."""
    spool = open_spool(directory)
    stop = threading.Event()

    def put_on(name: str) -> None:
        number = 0
        while not stop.is_set():
            put(spool, f"{name}.{number}", 1)
            spool.maintain()
            number += 1

    threads = [threading.Thread(target=put_on, args=(f"thread{n}",)) for n in range(2)]
    for thread in threads:
        thread.start()
    for number in range(10):
        join(in_child(lambda n=number: put(spool, f"child{n}")))  # type: ignore[misc]
    stop.set()
    for thread in threads:
        thread.join()
    spool.close()


def without_hooks(directory: str) -> None:
    """As a server written in C forks: Python's hooks do not run, SQLite's files are open in the child."""
    spool = open_spool(directory)
    put(spool, "parent")

    def work() -> None:
        assert not spool.batch(Signal.LOGS, 1 << 20, 100)
        put(spool, "child")
        assert len(spool.batch(Signal.LOGS, 1 << 20, 100)) == 5
        assert spool.claim_orphans() == 0

    parents = spool.batch(Signal.LOGS, 1 << 20, 100).ids
    for action in (
        lambda: spool.delivered(parents),
        lambda: spool.bury(parents, "x"),
        spool.maintain,
        spool.purge_dead,
    ):
        join(in_child(action, ctypes.PyDLL(None).fork))
    join(in_child(work, ctypes.PyDLL(None).fork))
    put(spool, "late")
    join(in_child(spool.close, ctypes.PyDLL(None).fork))
    put(spool, "later")
    assert spool.stats().records[Signal.LOGS] == 15
    spool.close()


def orphaned_child(directory: str) -> None:
    """The parent dies first; the child claims its file, unless SQLite had that open at the fork."""
    for fork, inherited in ((os.fork, 5), (ctypes.PyDLL(None).fork, 0)):
        _orphan(f"{directory}/{inherited}", fork, inherited)


def _orphan(directory: str, fork: Callable[[], int], inherited: int) -> None:
    parent_gone, parent_lives = os.pipe()

    def work() -> None:
        spool = open_spool(directory)
        put(spool, f"parent{inherited}")

        def outlive() -> None:
            os.close(parent_lives)
            os.read(parent_gone, 1)
            spool.claim_orphans()
            found = len(spool.batch(Signal.LOGS, 1 << 20, 100))
            assert found == inherited, (found, inherited)
            say(f"ok {inherited}")

        in_child(outlive, fork)

    join(in_child(work))
    os.close(parent_lives)
    os.close(parent_gone)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
