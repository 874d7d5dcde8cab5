"""Every graph whose class the kernel derives in these tests is judged by the extracted checker too, at their end."""

from collections.abc import Iterator, Sequence

import pytest

from proofs.errors import InvalidInput
from proofs.formal.graph_text import node_lines
from proofs.kernel import regularity, zeros
from proofs.kernel.lemmas.instance import Line
from proofs.kernel.lines import Rule, lines_of
from proofs.network.graph import Graph
from proofs.operations import REGISTRY
from tests.proofs.formal_programs import NO_CHECKER, refusals

OWN = frozenset(REGISTRY)  # an operation that a page of the docs adds by its example has no theorem
LEFT = 0.01  # the most of all nodes that may stand behind one at which the checker has to end


def text_of(graph: Graph, lines: Sequence[Line]) -> str:
    """The graph with what the kernel establishes; nothing where an attribute is wrong that no lemma looked at."""
    optional = ("constant", "clamp")  # these alone may write "-" among their numbers
    claims = [[str(line.regularity), *line.bounds.to_json(), line.mask is not None] for line in lines]
    try:
        written = list(node_lines(graph, claims))
    except (InvalidInput, TypeError):
        return ""
    missing = any("-" in line.split(" ; ")[0].split() and not line.startswith(optional) for line in written)
    return "" if missing else "\n".join((*written, ""))


@pytest.fixture(scope="session", autouse=True)
def second_opinion() -> Iterator[None]:
    """Collects what the kernel establishes, and has it judged once the last test is over."""
    found: set[str] = set()

    def collecting(graph: Graph, instead: Rule | None = None) -> list[Line]:
        lines = lines_of(graph, instead)
        if instead is None and not any(node.operation in REGISTRY.keys() - OWN for node in graph.nodes):
            found.add(text_of(graph, lines))
        return lines

    with pytest.MonkeyPatch.context() as patch:
        if not NO_CHECKER:
            patch.setattr(regularity, "lines_of", collecting)
            patch.setattr(zeros, "lines_of", collecting)
        yield
    texts = sorted(found - {""})
    refused, unjudged = refusals(texts) if texts else ([], 0)
    assert not refused, refused
    assert unjudged <= LEFT * sum(text.count("\n") for text in texts) + 10
