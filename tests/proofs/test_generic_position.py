"""Patterns, families, witnesses and lifting on hand-made networks; altered certificates are rejected."""

import copy
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any

import pytest

from proofs import InvalidInput, Verdict, check
from proofs.kernel.collisions import find_collisions, powers_of_one_word, proportional, repeated
from proofs.kernel.depth import last_block_lifts
from proofs.kernel.generic_position import STATEMENT, claim_of
from proofs.kernel.patterns import patterns, relabelled
from proofs.kernel.result import Rejected, digest
from proofs.network.graph import Graph, Node, TensorType
from proofs.theorems.classification import collides
from proofs.theorems.generic_position import examine
from tests.proofs.building import Net, attention_net
from tests.proofs.decoders import VOCABULARY, D, graphs, network
from tests.proofs.mutating import placed


def test_every_pair_has_exactly_one_pattern() -> None:
    assert [len(patterns(k)) for k in (1, 2, 3)] == [1, 15, 194]
    listed = set(patterns(2))
    prompts = [p for n in (1, 2) for p in product("abcd", repeat=n)]
    for s, t in product(prompts, repeat=2):
        codes = [tuple(map(ord, prompt)) for prompt in (s, t)]
        both = {relabelled(codes[0], codes[1]), relabelled(codes[1], codes[0])}
        assert len(both & listed) == (0 if s == t else 1)


def test_a_bos_stands_in_front_and_nowhere_else() -> None:
    assert all(s[0] == t[0] == 0 and 0 not in s[1:] + t[1:] for s, t in patterns(3, bos=True))
    assert len(patterns(3, bos=True)) == 194


@pytest.mark.parametrize(
    ("options", "bos", "expected"),
    [
        ({"scheme": "learned"}, False, (194, 0, 0)), ({"scheme": "none"}, False, (189, 5, 0)),
        ({"scheme": "alibi"}, False, (191, 3, 0)), ({"scheme": "none", "depth": 2}, False, (191, 3, 0)),
        ({"scheme": "none"}, True, (192, 2, 0)), ({"scheme": "none", "depth": 2}, True, (194, 0, 0)),
        ({"scheme": "alibi"}, True, (194, 0, 0)), ({"scheme": "none", "sink": True}, False, (192, 2, 0)),
    ],
    ids=str,
)  # fmt: skip
def test_the_enumeration_is_complete_and_agrees_with_the_classification(
    options: dict[str, Any], bos: bool, expected: tuple[int, int, int]
) -> None:
    found = examine(graphs(3 + bos, **options), context=3, bos=bos)
    counts = found.claim
    assert (counts["certified"], counts["collisions_proved"], counts["undecided"]) == expected
    if "sink" not in options:
        for first, second, outcome in found.classes:
            assert outcome.startswith("collide") is collides(options["scheme"], options.get("depth", 1), first, second)
    assert found.verdict is (Verdict.REFUTED if expected[1] else Verdict.UNDECIDED if expected[2] else Verdict.PROVED)


@pytest.mark.slow
def test_powers_of_one_word_collide_under_one_block_of_alibi() -> None:
    found = examine(graphs(4, scheme="alibi"), context=4)
    rows = {(s, t): outcome for s, t, outcome in found.classes}
    assert rows[(1, 2), (1, 2, 1, 2)] == "collide: powers of one word"
    assert found.claim["undecided"] == 0


def families(networks: dict[int, Graph]) -> set[str]:
    return {entry["family"] for entry in find_collisions(networks)}


def test_families_are_shown_pair_by_pair() -> None:
    everything = {"repeated tokens", "permuted prefixes", "powers of one word", "proportional multisets"}
    assert families(graphs(4)) == everything
    assert families(graphs(4, scheme="alibi")) == {"repeated tokens", "powers of one word"}
    assert families(graphs(4, scheme="alibi", bend=True)) == {"repeated tokens"}
    assert families(graphs(4, scheme="alibi", depth=2)) == {"repeated tokens"}
    assert families(graphs(4, depth=2)) == {"repeated tokens"}
    assert families(graphs(4, sink=True)) == {"permuted prefixes"}
    assert families(graphs(4, scheme="learned")) == set()
    assert families(graphs(4, window=2)) == {"repeated tokens", "window reach", "powers of one word"}


def test_states_that_may_be_undefined_are_said_to_collide_where_they_are_defined() -> None:
    def graph(length: int) -> Graph:
        net = Net()
        x = net.op("take", net.parameter("e", 9, 2), net.tokens(length, 9), axis=0)
        nothing = net.op("multiply", net.op("log", net.constant(-1)), net.constant(0))
        return net.graph(net.op("add", x, nothing) if length > 1 else x)

    found = examine({n: graph(n) for n in (1, 2)}, context=2)
    assert found.claim["collisions_proved"] == 4
    assert "where they are defined" in found.claim["statement"]
    assert check(found.to_json()).verdict is Verdict.ACCEPTED
    shortened = found.to_json()
    shortened["claim"]["statement"] = shortened["claim"]["statement"].partition(" States that collide")[0]
    assert check(shortened).verdict is Verdict.REJECTED
    assert "defined" not in examine(graphs(2), context=2).claim["statement"]


def test_windows_collide_beyond_their_reach() -> None:
    found = examine(graphs(3, window=2), context=3)
    rows = {(s, t): outcome for s, t, outcome in found.classes}
    assert rows[(1, 2), (3, 1, 2)] == "collide: window reach"
    assert rows[(1, 2, 3), (4, 2, 3)] == "collide: window reach"


def test_predicates() -> None:
    assert repeated((1, 1), (1,))
    assert not repeated((1,), (2,))
    assert proportional((1, 2), (1, 1, 2, 2))
    assert not proportional((1, 2), (1, 1, 2))
    assert powers_of_one_word((1, 2), (1, 2, 1, 2))
    assert not powers_of_one_word((1, 2), (2, 1, 1, 2))


def test_relu_needs_a_witness_for_every_branch() -> None:
    """The selection principle: with zero weights behind the kinks one point serves every gating pattern."""
    networks = graphs(2, scheme="learned", activation="relu")
    silent = examine(networks, context=2, zeroed=["block.0.down"])
    assert (silent.claim["regularity"], silent.claim["undecided"], silent.verdict) == ("branches", 0, Verdict.PROVED)
    dead = examine(graphs(2, scheme="learned", activation="relu", residual=False), context=2, zeroed=["block.0.down"])
    assert dead.claim["certified"] == 0


def experts(length: int) -> Graph:
    """A block whose step is one of three experts, chosen by a learned score of the state."""
    net = Net()
    x = net.op("take", net.parameter("embedding", VOCABULARY, D), net.tokens(length, VOCABULARY), axis=0)
    places = net.constant(list(range(length)), (1, length), "integer")
    x = net.op("add", x, net.op("take", net.parameter("positions", 4, D), places, axis=0))
    q, k, v = (net.op("matmul", x, net.parameter("block.0." + part, D, D)) for part in ("query", "key", "value"))
    scores = net.op("matmul", q, net.op("permute", k, order=(0, 2, 1)))
    mask = [0 if j <= i else float("-inf") for i in range(length) for j in range(length)]
    weights = net.op("softmax", net.op("add", scores, net.constant(mask, (1, length, length))), axis=2)
    x = net.op("add", x, net.op("matmul", net.op("matmul", weights, v), net.parameter("block.0.out", D, D)))
    routed = net.op("matmul", x, net.parameter("block.0.router", D, 3))
    chosen = net.op("reshape", net.op("top_indices", routed, axis=2, count=1), shape=(length,))
    down = net.op("take", net.parameter("block.0.down", 3, D, D), chosen, axis=0)
    hidden = net.op("reshape", net.op("tanh", x), shape=(length, 1, D))
    net.op("add", x, net.op("reshape", net.op("matmul", hidden, down), shape=(1, length, D)))
    return net.graph()


def test_mixtures_of_experts_are_covered_by_a_witness_for_every_routing() -> None:
    networks = {length: experts(length) for length in (1, 2)}
    found = examine(networks, context=2, zeroed=["block.0.down"], silenced=["block.0.out", "block.0.down"])
    assert (found.claim["regularity"], found.claim["certified"], found.verdict) == ("branches", 15, Verdict.PROVED)
    assert found.claim["every_depth"]
    assert check(found.to_json()).verdict is Verdict.ACCEPTED
    generic = examine(networks, context=2)  # one routing pattern of many: no proof
    assert (generic.claim["regularity"], generic.claim["undecided"]) == ("unsuitable", 15)
    altered = found.to_json()
    altered["claim"]["zeroed"] = []
    assert check(altered).verdict is Verdict.REJECTED


@pytest.mark.parametrize(
    ("options", "collide"),
    [({"clipped": True}, 1), ({"epsilon": Fraction(0)}, 1), ({"frozen": True}, 1)],
    ids=str,
)
def test_what_the_constructions_do_not_cover_stays_undecided(options: dict[str, Any], collide: int) -> None:
    """Clipping inside attention, norms without epsilon, frozen rows."""
    found = examine(graphs(2, **options), context=2)
    assert found.claim["collisions_proved"] == collide
    assert found.claim["undecided"] == 15 - collide
    assert found.verdict is not Verdict.PROVED
    assert check(found.to_json()).verdict is Verdict.ACCEPTED


def test_depth_lifting_is_decided_on_the_graph() -> None:
    outputs = ["block.1.out", "block.1.down"]
    assert last_block_lifts(network(2, depth=2), outputs)
    assert not last_block_lifts(network(2, depth=2, residual=False), outputs)
    assert not last_block_lifts(network(2, depth=2), outputs[:1])
    assert not last_block_lifts(network(2, depth=2), ["block.1.out", "block.1.up"])
    assert not last_block_lifts(network(2, depth=2), ["block.0.out", "block.0.down"])


def test_a_parameter_that_is_called_as_its_block_is_of_the_block() -> None:
    net = Net()
    x = net.op("take", net.parameter("e", 9, 2), net.tokens(1, 9), axis=0)
    inner = net.op("multiply", x, net.parameter("block.1", 2))
    outer = net.op("add", inner, net.op("multiply", net.op("tanh", inner), net.parameter("block.1", 2)))
    assert not last_block_lifts(net.graph(outer), ["block.1"])
    outer = net.op("add", x, net.op("multiply", net.op("tanh", x), net.parameter("block.1", 2)))
    assert last_block_lifts(net.graph(outer), ["block.1"])


@pytest.mark.parametrize(("width", "lifts"), [(2, True), (1, False)])
def test_a_zero_that_repeats_what_it_is_added_to_is_no_identity(width: int, lifts: bool) -> None:
    """A row of one entry, and zeros of two: the sum holds the entry twice."""
    net = Net()
    x = net.op("take", net.parameter("e", 9, width), net.tokens(1, 9), axis=0)
    step = net.op("multiply", net.op("tanh", x), net.parameter("block.1.out", 2))
    assert last_block_lifts(net.graph(net.op("add", x, step)), ["block.1.out"]) is lifts


CERTIFICATE = examine(graphs(2), context=2, silenced=["block.0.out", "block.0.down"]).to_json()


def test_the_certificate_is_accepted() -> None:
    assert CERTIFICATE["claim"]["every_depth"] is True
    assert check(CERTIFICATE).verdict is Verdict.ACCEPTED


CHANGES: list[tuple[tuple[Any, ...], Any]] = [
    (("claim", "certified"), 15), (("claim", "collisions_proved"), 0), (("claim", "undecided"), 1),
    (("claim", "statement"), "All differ."), (("claim", "bits"), 24),
    (("claim", "bos"), True), (("claim", "bos"), 0), (("claim", "context"), 1), (("claim", "context"), 99),
    (("claim", "zeroed"), ["embedding"]), (("claim", "zeroed"), None),
    (("claim", "silenced"), []), (("claim", "every_depth"), False), (("claim", "free_rows"), False),
    (("claim", "regularity"), "branches"),
    (("claim", "graphs"), "0" * 64), (("claim", "extra"), 1), (("claim",), None), (("graphs",), None),
    (("graphs", "1"), {}), (("classes",), []), (("classes", 0, 2), "collide: repeated tokens"),
    (("classes", 1, 2), "differ: point 0"), (("classes", 0, 0), [2]),
    (("classes", -1, 0), lambda tokens: [True if token == 1 else token for token in tokens]),
    (("classes", -1, 0), lambda tokens: [float(token) for token in tokens]),
    (("classes", -1), lambda row: [*row, "undecided"]), (("classes", -1), lambda row: dict(enumerate(row))),
    (("classes", -1, 2), "differ: spot 0"), (("classes", -1, 2), f"differ: point {0:021}"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), CHANGES, ids=lambda one: "changed" if callable(one) else str(one))
def test_a_tampered_certificate_is_rejected(path: tuple[Any, ...], value: Any) -> None:
    assert check(placed(CERTIFICATE, path, value)).verdict is Verdict.REJECTED


def recounted(classes: list[Any], networks: dict[int, Graph]) -> dict[str, Any]:
    """Other classes or networks with all that a careful forger would make to fit."""
    written = {str(length): graph.to_json() for length, graph in networks.items()}
    kinds = [outcome.partition(":")[0] for *_, outcome in classes]
    counts = {"certified": kinds.count("differ"), "collide": kinds.count("collide"), "undecided": 0}
    said = STATEMENT.format(classes=len(classes), context=2, bos="", sizes="every vocabulary", **counts)
    claim = {
        **CERTIFICATE["claim"], "statement": said, "classes": len(classes), "certified": counts["certified"],
        "collisions_proved": counts["collide"], "graphs": digest(written),
    }  # fmt: skip
    return {**CERTIFICATE, "claim": claim, "classes": classes, "graphs": written}


def test_a_forgery_in_which_everything_else_fits_is_noticed() -> None:
    classes, networks = CERTIFICATE["classes"], graphs(2)
    assert check(recounted(classes, networks)).verdict is Verdict.ACCEPTED
    apart = [row for row in classes if not row[2].startswith("collide")]
    assert len(apart) < len(classes)
    more = copy.deepcopy(networks)
    node = Node("parameter", (), {"name": "more", "shape": (1,), "kind": "real"}, TensorType((1,)))
    more[2] = replace(more[2], nodes=(*more[2].nodes, node))
    for forged, reason in (
        (recounted(apart, networks), "the patterns are not those of all pairs"),
        (recounted(classes[::-1], networks), "the patterns are not those of all pairs"),
        (recounted(classes, graphs(3)), "but got it for 3 too"),
        (recounted(classes, more), "but at 2 it has other parameters"),
    ):
        result = check(forged)
        assert (result.verdict, reason in result.reason) == (Verdict.REJECTED, True), result.reason


def test_a_hypothesis_removed_from_the_graph_is_noticed() -> None:
    data = copy.deepcopy(CERTIFICATE)
    sinks = examine(graphs(2, sink=True), context=2).to_json()
    data["graphs"] = sinks["graphs"]
    data["claim"]["graphs"] = sinks["claim"]["graphs"]
    assert check(data).verdict is Verdict.REJECTED


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidInput, match="captured for 2"):
        examine({1: network(1)}, context=2)
    with pytest.raises(InvalidInput, match="context"):
        examine({}, context=9)
    with pytest.raises(InvalidInput, match="vocabulary"):
        examine(graphs(5), context=5)


@pytest.mark.parametrize("gate", ["at_most", "clamp", "floor"])
def test_a_choice_that_zeros_decide_is_not_that_of_all_branches(gate: str) -> None:
    """e (token) where u w <= 1, else 0: at w = 0 tokens differ, and where u w > 1 none do."""
    net = Net()
    row = net.op("take", net.parameter("embedding", 9, 2), net.tokens(1, 9), axis=0)
    size = net.op("multiply", net.parameter("w", 1, 1, 1), net.parameter("u", 1, 1, 1))
    one = net.constant(1)
    if gate == "at_most":
        switch = net.op("as_real", net.op("at_most", size, one))
    elif gate == "clamp":
        switch = net.op("subtract", one, net.op("clamp", size, low=Fraction(0), high=Fraction(1)))
    else:
        switch = net.op("as_real", net.op("at_most", net.op("floor", size), net.constant(0, (), "integer")))
    graphs = {1: net.graph(net.op("multiply", row, switch))}
    found = examine(graphs, context=1, zeroed=["w"])
    assert (found.claim["regularity"], found.claim["certified"]) == ("unsuitable", 0)
    forged = found.to_json()
    forged["classes"] = [[s, t, "differ: point 0"] for s, t, _ in forged["classes"]]
    forged["claim"] = {**forged["claim"], "regularity": "branches"}
    assert check(forged).verdict is Verdict.REJECTED


def test_a_vocabulary_has_room_for_all_patterns() -> None:
    for vocabulary, fits in ((4, False), (5, True)):
        networks = {n: attention_net(length=n, vocabulary=vocabulary) for n in (1, 2)}
        if fits:
            assert examine(networks, context=2).claim["classes"] == 15
        else:
            with pytest.raises(InvalidInput, match="above 4, but got 4"):
                examine(networks, context=2)


def claimed(networks: dict[int, Graph], outcomes: dict[tuple[Any, Any], str]) -> dict[str, Any]:
    """The claim of outcomes, each of which has to be shown."""
    rows = [(first, second, outcomes[first, second]) for first, second in patterns(2, bos=False)]
    return claim_of(networks, rows, context=2, bos=False, zeroed=(), silenced=(), named="")


def test_states_that_differ_at_a_point_say_nothing_of_a_network_that_jumps() -> None:
    def graph(length: int, *, jumps: bool) -> Graph:
        net = Net()
        x = net.op("take", net.parameter("e", 9, 2), net.tokens(length, 9), axis=0)
        summed = net.op("cumulative_sum", x, axis=1)
        chosen = net.op("select", net.op("greater", x, net.constant(0)), net.op("negate", x), x) if jumps else x
        return net.graph(net.op("add", summed, chosen))

    outcomes = dict.fromkeys(patterns(2, bos=False), "differ: point 0")
    assert claimed({n: graph(n, jumps=False) for n in (1, 2)}, outcomes)["certified"] == len(outcomes)
    with pytest.raises(Rejected, match="not shown to differ"):
        claimed({n: graph(n, jumps=True) for n in (1, 2)}, outcomes)


def test_a_pattern_that_collides_is_of_its_own_family() -> None:
    networks = graphs(2)
    found = {(first, second): outcome for first, second, outcome in examine(networks, context=2).classes}
    collide = next(pair for pair, outcome in found.items() if outcome.startswith("collide"))
    assert claimed(networks, found)["collisions_proved"] > 0
    for other in ("permuted prefixes", "window reach", "anything", ""):
        if found[collide] != f"collide: {other}":
            with pytest.raises(Rejected, match="not shown to collide"):
                claimed(networks, {**found, collide: f"collide: {other}"})


def shifting(length: int) -> Graph:
    """A block that is residual behind two tokens, and behind one moves entries on, which two such blocks lose."""
    net = Net()
    x = net.op("take", net.parameter("embedding", 6, 2), net.tokens(length, 6), axis=0)
    added = net.op("matmul", net.op("tanh", x), net.parameter("block.0.out", 2, 2))
    if length == 1:
        x = net.op("matmul", x, net.constant([0, 1, 0, 0], (2, 2)))
    return net.graph(net.op("add", x, added))


def test_every_depth_is_claimed_where_the_last_block_lifts_at_every_length() -> None:
    silenced = ["block.0.out"]
    assert last_block_lifts(shifting(2), silenced) and not last_block_lifts(shifting(1), silenced)
    found = examine({n: shifting(n) for n in (1, 2)}, context=2, silenced=silenced)
    assert found.claim["every_depth"] is False
    assert check(placed(found.to_json(), ("claim", "every_depth"), True)).verdict is Verdict.REJECTED


def test_a_table_whose_rows_are_all_read_is_of_one_size() -> None:
    def network(length: int) -> Graph:
        net = Net()
        table = net.parameter("embedding", 6, 2)
        x = net.op("take", table, net.tokens(length, 6), axis=0)
        return net.graph(net.op("multiply", x, net.op("tanh", net.op("mean", table, axes=(0,), keep=False))))

    claim = examine({n: network(n) for n in (1, 2)}, context=2).claim
    assert claim["free_rows"] is False
    assert claim["statement"].endswith("are undecided, for the tokens that they are written in.")
