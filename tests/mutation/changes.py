"""The changes of a module that can weaken a check: those of cosmic-ray, and two more.

A condition that guards a rejection is never true, and one of several conditions is dropped.
"""

import ast
import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import parso
from cosmic_ray.ast import Visitor, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).parents[2]
CHOSEN = re.compile(
    r"core/(ReplaceComparisonOperator_(Eq_(NotEq|GtE|LtE)|NotEq_(Eq|Gt|Lt)|Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|Is_IsNot|IsNot_Is)"
    r"|ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Add|Div_Mul|FloorDiv_Mul|Mod_Mul|Pow_Mul|LShift_RShift|BitOr_BitAnd"
    r"|BitAnd_BitOr)|ReplaceUnaryOperator_(USub_UAdd|Delete_Not)|Replace(And|Or)With(Or|And)|ReplaceTrueWithFalse"
    r"|ReplaceFalseWithTrue|NumberReplacer|ZeroIterationForLoop|ReplaceBreakWithContinue)"
)
NO_MEANING = re.compile(r'(?:[=!]=|[<>]=?)(?= ")|strict=(?:True|False)')  # an order of names, and what `zip` asserts


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


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed module.

    Attributes:
        change: the module, the line that was changed, and what stands there now.
        text: of the whole module.
        lines: of the statement that was changed, of a compound one those of its head.
    """

    change: str
    text: str
    lines: frozenset[int]


def mutants(path: str) -> Iterator[Mutant]:
    """Every mutant of a module that may accept more."""
    text = (ROOT / path).read_text()
    chosen = [get_operator(name)() for name in sorted(operator_names()) if CHOSEN.fullmatch(name)]
    for operator in (DropCheck(), DropOperand(), *chosen):
        counted = _Count(operator)
        counted.walk(get_ast(text))
        for occurrence in range(counted.count):
            changed = mutate_code(text, operator, occurrence)
            if changed is None or changed == text:
                continue
            where, *lines = list(difflib.unified_diff(text.splitlines(), changed.splitlines(), lineterm="", n=0))[2:]
            before, *after = (line[1:].strip() for line in lines)
            if _may_weaken(before, " ".join(after)):
                number = int(re.findall(r"\d+", where)[0])
                yield Mutant(f"{path}: " + " => ".join([before, *after]), changed, _statement(text, number))


def _may_weaken(before: str, after: str) -> bool:
    """Whether a changed line may accept more: not the words of a refusal, and none of `NO_MEANING` alone."""
    told = before.startswith(("raise ", 'f"', "@dataclass"))
    return not told and NO_MEANING.sub("", before) != NO_MEANING.sub("", after)


def _statement(text: str, line: int) -> frozenset[int]:
    """The lines of the innermost statement at a line; of a compound one, those of its head."""
    found = range(1, len(text.splitlines()) + 1)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.stmt | ast.ExceptHandler):
            body = getattr(node, "body", None)
            last = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or node.lineno
            if node.lineno <= line <= last and last - node.lineno < len(found):
                found = range(node.lineno, last + 1)
    return frozenset(found)
