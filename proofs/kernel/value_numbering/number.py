"""The number of a prompt's last state, and whether two prompts have one state for every value of the parameters.

(docs/theory.md, "Value numbering".) Both graphs are numbered in one table, each for the length of its own prompt.
Tokens are symbols, so that an equality holds for every vocabulary and every choice of distinct or equal tokens in
their places.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from math import prod

from proofs.kernel.value_numbering.axes import cut_axes
from proofs.kernel.value_numbering.rules import RULES
from proofs.kernel.value_numbering.table import Table
from proofs.kernel.value_numbering.values import At, Numbers, Value, fresh, leaf
from proofs.network.graph import LEAVES, Graph
from proofs.operations.interpreter import live

PARTIAL = 10  # terms that one of a partial sum counts for: of constants it is worked out


@dataclass(slots=True)
class _Plan:
    """What does not depend on the prompt: the order, the axes, and the values that no token reaches."""

    graph: Graph
    order: list[int]
    cut: dict[int, tuple[int, ...]]
    whole: dict[int, tuple[int, ...]] = field(default_factory=dict[int, tuple[int, ...]])  # shapes of sub-tensors
    empty: set[int] = field(default_factory=set[int])  # nodes that have no entries, or read none
    fixed: dict[int, Value] = field(default_factory=dict[int, Value])

    def __post_init__(self) -> None:
        for index in self.order:
            node = self.graph.nodes[index]
            read = () if node.operation == "concatenate" else node.arguments  # a part without entries adds nothing
            if any(0 in self.graph.nodes[i].type.shape for i in (index, *read)):
                self.empty.add(index)
            cut = self.cut[index]
            self.whole[index] = tuple(1 if axis in cut else size for axis, size in enumerate(node.type.shape))

    def places(self, index: int) -> int:
        """How many numbers a node has."""
        shape = self.graph.nodes[index].type.shape
        return prod(max(shape[axis], 1) for axis in self.cut[index])


class Numbering:
    """Numbers of last states, in one table for all graphs and prompts.

    Args:
        graphs: those that will be numbered. All are cut along the axes along which the longest one is, node by node of
            one name: at length 1 it does not show which axes the prompt meets.
    """

    def __init__(self, graphs: Iterable[Graph]) -> None:
        self._longest = max(graphs, key=lambda graph: graph.length)
        self.table = Table()
        self._plans: dict[int, _Plan] = {}
        self._states: dict[tuple[int, tuple[int, ...]], int] = {}

    def equal(self, first: Graph, one: Sequence[int], second: Graph, other: Sequence[int]) -> bool:
        """Whether two prompts provably have the same last state, for all parameters. False says nothing."""
        return self.last_state(first, one) == self.last_state(second, other)

    def last_state(self, graph: Graph, prompt: Sequence[int]) -> int:
        """The number of the state of the last token.

        Args:
            graph: a well-formed network, captured for the length of the prompt.
            prompt: the tokens, by symbols.

        Raises:
            TooMany: the graph has more different values than the table has room for.
        """
        plan = self._plans.get(id(graph)) or self._plan(graph)
        place = (id(graph), tuple(prompt))
        if place not in self._states:
            if not plan.fixed:
                self._fix(plan)
            values: dict[int, Value] = {}
            for index in plan.order:
                values[index] = plan.fixed.get(index) or self._value(plan, index, prompt, values)
            self._states[place] = self._last(graph, values[graph.output].numbers)
        return self._states[place]

    def work(self, graph: Graph) -> tuple[int, int]:
        """Bounds of how many numbers are looked up for one prompt, and of how many terms their sums have in all.

        They are known before anything is numbered.
        """
        plan = self._plans.get(id(graph)) or self._plan(graph)
        found = terms = 0
        for index in plan.order:
            node = graph.nodes[index]
            found += plan.places(index) + sum(map(plan.places, node.arguments))
            axis = -1 if node.operation == "matmul" else node.attributes.get("axis")
            if node.operation in ("matmul", "cumulative_sum") and isinstance(axis, int):
                source = node.arguments[0]
                shape = graph.nodes[source].type.shape
                each = 1 if node.operation == "matmul" else PARTIAL
                terms += each * plan.places(index) * (shape[axis] if axis % len(shape) in plan.cut[source] else 1)
        return found, terms

    def _last(self, graph: Graph, numbers: Numbers) -> int:
        """The number of the last row of the output (1, length, width); one name for all lengths where that is cut."""
        length = graph.nodes[graph.output].type.shape[1]
        if numbers.shape[1] == 1 != length:
            return self.table.of("last of", length, *numbers.ravel().tolist())
        row = numbers[:, -1].ravel().tolist()
        return row[0] if len(row) == 1 else self.table.of("row of", *row)

    def _plan(self, graph: Graph) -> _Plan:
        order = live(graph)
        also: list[tuple[int, int]] = []
        if graph is not self._longest:
            longest = self._plans.get(id(self._longest)) or self._plan(self._longest)
            places = _places(graph, order)
            for place, index in _places(self._longest, longest.order).items():
                also += [(places[place], axis) for axis in longest.cut[index] if place in places]
        plan = self._plans[id(graph)] = _Plan(graph, order, cut_axes(graph, order, also))
        return plan

    def _fix(self, plan: _Plan) -> None:
        """Numbers what no token reaches, once for all prompts; what no rule is known of may be drawn anew for each."""
        reached: set[int] = set()
        for index in plan.order:
            node = plan.graph.nodes[index]
            unknown = node.operation not in (*LEAVES, *RULES)
            if node.operation == "tokens" or unknown or any(i in reached for i in node.arguments):
                reached.add(index)
            else:
                plan.fixed[index] = self._value(plan, index, (), plan.fixed)

    def _value(self, plan: _Plan, index: int, prompt: Sequence[int], values: dict[int, Value]) -> Value:
        node = plan.graph.nodes[index]
        arguments = tuple(values[i] for i in node.arguments)
        at = At(self.table, plan.graph, index, plan.cut[index], arguments, values.__getitem__, plan.whole[index])
        if node.operation in LEAVES:
            return leaf(at, prompt)
        rule = RULES.get(node.operation)
        return fresh(at) if rule is None or index in plan.empty else rule(at)


def _places(graph: Graph, order: Sequence[int]) -> dict[Hashable, int]:
    """Nodes by what they are called and the how-manieth of that name they are; only cuts are chosen by it."""
    seen: Counter[Hashable] = Counter()
    found: dict[Hashable, int] = {}
    for index in order:
        node = graph.nodes[index]
        name = (node.module, node.operation, len(node.type.shape))
        found[name, seen[name]] = index
        seen[name] += 1
    return found
