"""Three threads: order, bounds, and failures of each."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from srdeploy.video.overlap import overlap


def test_all_items_pass_in_order_and_few_wait() -> None:
    given, taken, most = [0], [], [0]

    def source() -> Iterator[int]:
        for number in range(40):
            given[0] += 1
            most[0] = max(most[0], given[0] - len(taken))
            yield number

    def sink(item: int) -> None:
        time.sleep(0.001)
        taken.append(item)

    overlap(source(), lambda item: 2 * item, sink, depth=3)
    assert taken == [2 * number for number in range(40)]
    assert most[0] <= 3 + 3 + 3  # two queues, and one in each hand


@pytest.mark.parametrize("where", ["source", "work", "sink"])
def test_a_failure_ends_all_three(where: str) -> None:
    before = threading.active_count()

    def fail(here: str, item: int) -> int:
        if here == where and item == 5:
            raise ZeroDivisionError(where)
        return item

    with pytest.raises(ZeroDivisionError, match=where):
        overlap(
            (fail("source", n) for n in range(1000)),
            lambda n: fail("work", n),
            lambda n: fail("sink", n) and None,
        )
    assert threading.active_count() == before


def test_the_steps_run_at_the_same_time() -> None:
    pause = 0.02

    def slow(item: int) -> int:
        time.sleep(pause)
        return item

    started = time.perf_counter()
    overlap((slow(n) for n in range(12)), slow, lambda n: slow(n) and None)
    assert time.perf_counter() - started < 3 * 12 * pause * 0.7
