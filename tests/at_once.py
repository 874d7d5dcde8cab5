"""Works of several threads, begun together."""

import sys
import threading
from collections.abc import Callable
from typing import Any


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """What each gives in a thread of its own; an error is given as it is.

    Threads take turns so often meanwhile that none does much undisturbed.
    """
    found: list[Any] = [None] * len(works)
    ready = threading.Barrier(len(works))

    def work(number: int) -> None:
        ready.wait()
        try:
            found[number] = works[number]()
        except Exception as error:  # noqa: BLE001 - told by whatever it is compared with
            found[number] = error

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(works))]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    return found
