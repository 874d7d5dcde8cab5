"""Threads of one process: they take turns where something is changed that all of them see."""

import _thread
import os
import threading

# Held while a setting of the process (Arb's precision, torch's default type, what a library says) or a module that
# threads share (hooks, what blocks hand on) is changed and until it is as before, and while such a module runs.
# Re-entrant, and one for all of these, so that no two threads wait for each other. A fork waits for it as well: no
# forked process finds it held by a thread that it has not. A fork takes first what was registered last, so pools of
# threads, whose own lock a library may want while it holds this one, have to be registered before.
turn = threading.RLock()

_interrupted = False


def _before_a_fork() -> None:
    """Waits for the turn. An interruption would be passed over here, and the fork go on without: it comes after."""
    global _interrupted
    held = False
    while not held:
        try:
            held = turn.acquire()
        except KeyboardInterrupt:
            _interrupted = True


def _behind_a_fork() -> None:
    global _interrupted
    turn.release()
    if _interrupted:
        _interrupted = False
        threading.Timer(0.01, _thread.interrupt_main).start()  # here it would be passed over, too


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_a_fork, after_in_parent=_behind_a_fork, after_in_child=turn.release)
