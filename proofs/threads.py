"""Threads of one process: they take turns where something is changed that all of them see."""

import os
import threading

# Held while a setting of the process (Arb's precision, torch's default type, what a library says) or a module that
# threads share (hooks, what blocks hand on) is changed and until it is as before, and while such a module runs.
# Re-entrant, and one for all of these, so that no two threads wait for each other. A fork waits for it as well: no
# forked process finds it held by a thread that it has not.
turn = threading.RLock()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=turn.acquire, after_in_parent=turn.release, after_in_child=turn.release)
