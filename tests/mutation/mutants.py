"""Mutation testing of the checker: every small change of a kernel must be noticed by a test.

    python -m tests.mutation.mutants [module ...] [--every N] [--processes N]

The changes are those of cosmic-ray that can weaken a check, and two more: a condition that guards a rejection is never
true, and one of several conditions is dropped. Each mutant lives in the memory of a forked process alone; no file is
touched. A survivor must stand in `harmless.txt`, with the reason why it accepts nothing more; any other fails the run.
"""

import argparse
import difflib
import hashlib
import importlib.machinery
import os
import re
import resource
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import parso
import pytest
from cosmic_ray.ast import Visitor, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names

from tests.mutation.quick import QUICK

ROOT = Path(__file__).parents[2]
HARMLESS = Path(__file__).with_name("harmless.txt")
JUDGED = (
    ROOT / "build" / "mutants.txt"
)  # what became of each, by the texts of its module and its tests: a run goes on from there
CHOSEN = re.compile(
    r"core/(ReplaceComparisonOperator_(Eq_(NotEq|GtE|LtE)|NotEq_(Eq|Gt|Lt)|Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|Is_IsNot|IsNot_Is)"
    r"|ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Add|Div_Mul|FloorDiv_Mul|Mod_Mul|Pow_Mul|LShift_RShift|BitOr_BitAnd"
    r"|BitAnd_BitOr)|ReplaceUnaryOperator_(USub_UAdd|Delete_Not)|Replace(And|Or)With(Or|And)|ReplaceTrueWithFalse"
    r"|ReplaceFalseWithTrue|NumberReplacer|ZeroIterationForLoop|ReplaceBreakWithContinue)"
)
NO_MEANING = re.compile(r'(?:==|[<>]=?)(?= ")|strict=(?:True|False)')  # an order of names, and what `zip` asserts


class _Constant(Operator):
    """Conditions that are replaced by a constant."""

    def conditions(self, node: Any) -> list[tuple[int, str]]:
        """Places among the children of a node, and what is put there."""
        raise NotImplementedError

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        for place, _ in self.conditions(node):
            yield node.children[place].start_pos, node.children[place].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        place, value = self.conditions(node)[index]
        node.children[place] = parso.python.tree.Name(value, node.children[place].start_pos, prefix=" ")
        return node

    @classmethod
    def examples(cls) -> tuple[Any, ...]:
        return ()


class DropCheck(_Constant):
    """A guard that never rejects."""

    def conditions(self, node: Any) -> list[tuple[int, str]]:
        if getattr(node, "type", "") != "if_stmt":
            return []
        words = [getattr(child, "value", "") for child in node.children]
        return [(place + 1, "False") for place, word in enumerate(words) if word in ("if", "elif")]


class DropOperand(_Constant):
    """One condition of several that is not looked at."""

    def conditions(self, node: Any) -> list[tuple[int, str]]:
        neutral = {"or_test": "False", "and_test": "True"}.get(getattr(node, "type", ""))
        return [] if neutral is None else [(place, neutral) for place in range(0, len(node.children), 2)]


class _Count(Visitor):
    def __init__(self, operator: Operator) -> None:
        self.operator, self.count = operator, 0

    def visit(self, node: Any) -> Any:
        self.count += len(list(self.operator.mutation_positions(node)))
        return node


def mutants(path: str) -> Iterator[tuple[str, str]]:
    """Every mutant of a module: what was changed, as a line and its successor, and the whole text."""
    text = (ROOT / path).read_text()
    chosen = [get_operator(name)() for name in sorted(operator_names()) if CHOSEN.fullmatch(name)]
    for operator in (DropCheck(), DropOperand(), *chosen):
        counted = _Count(operator)
        counted.walk(get_ast(text))
        for occurrence in range(counted.count):
            changed = mutate_code(text, operator, occurrence)
            if changed is None or changed == text:
                continue
            lines = list(difflib.unified_diff(text.splitlines(), changed.splitlines(), lineterm="", n=0))[3:]
            before, *after = (line[1:].strip() for line in lines)
            if _may_weaken(before, " ".join(after)):
                yield f"{path}: " + " => ".join([before, *after]), changed


def _may_weaken(before: str, after: str) -> bool:
    """Whether a changed line may accept more: not the words of a refusal, and none of `NO_MEANING` alone."""
    told = before.startswith(("raise ", 'f"', "@dataclass"))
    return not told and NO_MEANING.sub("", before) != NO_MEANING.sub("", after)


class Order:
    """A plugin of pytest: tests that noticed most mutants run first, and which one notices this mutant is written down.

    Attributes:
        noticed: how many mutants of a module each test was the first to notice.
    """

    def __init__(self) -> None:
        self.noticed: Counter[str] = Counter()
        self.told, self._tell = os.pipe()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: -self.noticed[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            os.write(self._tell, f"{report.nodeid}\n".encode())

    def learn(self) -> None:
        """Counts the test that noticed a mutant; a mutant on which the collection fails was noticed by none."""
        while select.select([self.told], [], [], 0)[0]:
            self.noticed.update(os.read(self.told, 1 << 16).decode().splitlines())


def outcome(path: str, changed: str, tests: list[str], seconds: float, order: Order) -> str:
    """`survived` where the tests pass with a module changed, else `noticed`, or `endless` after so many seconds."""
    child = os.fork()
    if child == 0:
        _run(path, changed, tests, order)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            order.learn()
            return "survived" if os.waitstatus_to_exitcode(status) == 0 else "noticed"
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "endless"


def _run(path: str, changed: str, tests: list[str], order: Order) -> None:
    os.setsid()
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(silent, stream)
    resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
    name, load = path.removesuffix(".py").replace("/", "."), importlib.machinery.SourceFileLoader.get_code

    def get_code(self: Any, fullname: str) -> Any:
        return compile(changed, path, "exec") if fullname == name else load(self, fullname)

    importlib.machinery.SourceFileLoader.get_code = get_code
    status = 1
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--assert=plain", "-m", "not slow"]
    try:
        status = pytest.main([*options, *tests], plugins=[order])
    finally:
        os._exit(int(status))


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the checker with its mutants, by key: (what was changed, the whole text); and the tests of it."""

    path: str
    tests: list[str]
    mutants: dict[str, tuple[str, str]]

    @classmethod
    def of(cls, path: str, every: int) -> "Module":
        """Of every so manyth mutant; keys are of the texts of a mutant and its tests."""
        chosen = [name.partition("::") for name in QUICK[path].split()]
        read = b"".join((ROOT / "tests/proofs" / f"{file}.py").read_bytes() for file, *_ in chosen)
        told_by = hashlib.sha256(read).hexdigest()
        keyed = {hashlib.sha256(f"{told_by} {text}".encode()).hexdigest(): (change, text)
                 for change, text in list(mutants(path))[::every]}  # fmt: skip
        return cls(path, [f"tests/proofs/{file}.py{mark}{test}" for file, mark, test in chosen], keyed)

    def judge(self, keys: Sequence[str], seconds: float) -> None:
        """Writes down what becomes of mutants, for at most so long each."""
        order = Order()
        for key in keys:
            change, text = self.mutants[key]
            found = outcome(self.path, text, self.tests, seconds, order)
            with JUDGED.open("a") as file:
                file.write(f"{key} {found} {change}\n")


def judged() -> dict[str, str]:
    """What was found of mutants, by key."""
    return dict(line.split(" ", 2)[:2] for line in JUDGED.read_text().splitlines())


def judge_all(module: Module, processes: int) -> None:
    """Judges the mutants of a module that are not, in so many processes side by side."""
    kept = judged()
    keys = [key for key in module.mutants if key not in kept]
    began = time.monotonic()
    if keys and outcome(module.path, (ROOT / module.path).read_text(), module.tests, 3600, Order()) != "survived":
        sys.exit(f"Expected the tests of {module.path} to pass, but they fail; run them first.")
    limit = 30 + 5 * (time.monotonic() - began)
    workers: list[int] = []
    for number in range(processes):
        worker = os.fork()
        if worker == 0:
            module.judge(keys[number::processes], limit)
            os._exit(0)
        workers.append(worker)
    ended = [os.waitpid(worker, 0)[1] for worker in workers]  # all of them, or some would be left behind
    if any(ended):
        sys.exit(f"Expected every mutant of {module.path} to be judged, but a process ended early; start it again.")


def main() -> int:
    """Runs what was asked for; 1 where a survivor is not known to be harmless."""
    asked = argparse.ArgumentParser()
    asked.add_argument("modules", nargs="*", default=list(QUICK))
    asked.add_argument("--every", type=int, default=1, help="only every N-th mutant")
    asked.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many run side by side")
    options = asked.parse_args()
    os.chdir(ROOT)
    import flint  # noqa: F401 - loaded once, before the processes part
    import hypothesis  # noqa: F401
    import numpy  # noqa: F401

    known = {line.rsplit("  # ", 1)[0] for line in HARMLESS.read_text().splitlines() if line and line[0] != "#"}
    JUDGED.parent.mkdir(exist_ok=True)
    JUDGED.touch()
    unknown = 0
    for path in options.modules:
        module = Module.of(path, options.every)
        judge_all(module, options.processes)
        kept = judged()
        counts = Counter(kept[key] for key in module.mutants)
        left = [c for key, (c, _) in module.mutants.items() if kept[key] == "survived" and c not in known]
        for change in left:
            print(f"survived  {change}")
        told = f"{counts['noticed']} noticed, {counts['endless']} endless, {counts['survived'] - len(left)} harmless"
        print(f"{path}: {told}, {len(left)} survived", flush=True)
        unknown += len(left)
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
