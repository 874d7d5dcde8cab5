"""The page of the atlas: what is proved, what is inverted, and the reason for everything that is not."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

Line = dict[str, Any]

INTRODUCTION = """# Atlas of architectures

Every causal language model class of transformers: what is proved of it, and whether it is inverted. Written by
`python docs/make_atlas.py`, which goes on where it was stopped, and examines anew what was made with other versions.
"""
PROVED = """## Proved

Of the class built from its default text config (completed where the library leaves out what it needs) on the meta
device and captured with one block per kind of block, eager attention. *regularity* is the class proved of the map from
parameters to the last state; a *witness* is a certified proof that the map is not analytic (or jumps): of a small
copy of the same class, and of that alone. *positions* are described from value numbering at two lengths and a trial on
a small copy. Seconds are of computing, and rough: other work ran on the machine.
"""
COLLIDING = """## Structural collisions

Of a small copy of the class captured for 2 and 7 tokens: the families of prompts that value numbering shows to have
one state for every parameter, and [the theorems](theorems.md#under-a-proof-assistant) that each is an instance of, for
networks of their form at all lengths. *Of all prompts*: what [the classification](classification.md) says of such an
architecture, without a BOS; that the class is of the form it speaks of was read off its source, and is not checked.
"""
INVERTED = """## Inverted

Of a small copy of the class, of its text decoder where it also sees or hears (width 32, vocabulary 64, as many blocks
as show every kind of block), with every parameter drawn from a density: two prompts of 12 and 7 random tokens are
recovered from their states at the middle layer and after the final norm, in float32, with the default policy.
*recovered* says that every token was verified and is the right one. The *abilities* are what the body was found to
understand when a prompt was run through it (`sipit.models.abilities`); what it does not understand is done without.
"""
ABILITIES = ("memory", "mask", "positions", "padding", "packing")


def page(lines: Sequence[Line]) -> str:
    """The atlas as Markdown, from the lines that are kept."""
    proved, unproved = _parted(lines, "regularity")
    built, unbuilt = _parted(lines, "inversion", lambda part: part.get("failure") != "not built")
    return "\n".join(
        [
            INTRODUCTION,
            f"Examined: {len(lines)} model types, with {_versions(lines)}.",
            f"{sum(_definite(line['regularity']) for line in proved)} of {len(proved)} that are captured have a",
            "definite verdict (analytic, or a witness that a small copy is not).",
            f"Of {len(built)} whose small copy builds, {_recovered(built, 'middle')} are recovered at the middle",
            f"layer, {_recovered(built, 'final')} at `final`, {_recovered(built, 'middle', 'final')} at both.",
            "",
            PROVED,
            *_table(
                ("architecture", "regularity", "first obstruction", "witness in a copy", "positions",
                 "conditions", "blocks", "seconds"),
                (_proved_row(line["name"], line["regularity"]) for line in proved),
            ),
            "### Not captured",
            "",
            *_table(("architecture", "reason"), ((line["name"], line["regularity"]["reason"]) for line in unproved)),
            COLLIDING,
            f"Looked at: {sum('families' in line.get('collisions', {}) for line in lines)} of {len(lines)}.",
            "",
            *_table(
                ("architecture", "family", "by", "of all prompts collide", "by"),
                (row for line in lines if "families" in line.get("collisions", {}) for row in _collision_rows(line)),
            ),
            INVERTED,
            *_table(
                ("architecture", "class", "blocks", "middle layer", "final", *ABILITIES, "seconds"),
                (_inverted_row(line["name"], line["inversion"]) for line in built),
            ),
            "### Not recovered",
            "",
            *_table(("architecture", "where", "outcome", "reason"), (row for line in built for row in _reasons(line))),
            "### Not built",
            "",
            "The library itself builds no causal language model of the class from a small config.",
            "",
            *_table(("architecture", "reason"), ((line["name"], line["inversion"]["reason"]) for line in unbuilt)),
        ]
    )  # fmt: skip


def _parted(
    lines: Iterable[Line], part: str, holds: Callable[[Line], bool] = lambda part: "failure" not in part
) -> tuple[list[Line], list[Line]]:
    """The lines that have a part for which something holds, and those for which it does not."""
    there = [line for line in lines if part in line]
    return [line for line in there if holds(line[part])], [line for line in there if not holds(line[part])]


def _versions(lines: Iterable[Line]) -> str:
    """Which versions the lines were made with; several where the atlas is between two."""
    made = [part["made_with"] for line in lines for part in line.values() if isinstance(part, dict)]
    kinds = dict.fromkeys(f"transformers {one['transformers']} and torch {one['torch']}" for one in made)
    return ", or ".join(kinds)


def _definite(part: Line) -> bool:
    """Analytic, or not analytic with a witness."""
    return part["class"] in ("polynomial", "analytic") or part["witness"] is not None


def _recovered(lines: Iterable[Line], *places: str) -> int:
    return sum(all(_outcome(line["inversion"], place) == "recovered" for place in places) for line in lines)


def _outcome(part: Line, place: str) -> str:
    """How the inversion at a place ended; what kept the whole class from being inverted counts at each."""
    return part[place]["outcome"] if place in part else part["failure"]


def _proved_row(name: str, part: Line) -> tuple[Any, ...]:
    keys = ("class", "obstruction", "witness", "positions", "conditions", "blocks", "seconds")
    return (name, *(part[key] for key in keys))


def _collision_rows(line: Line) -> Iterable[tuple[Any, ...]]:
    """A row for each family, with what the classification says beside the first."""
    part = line["collisions"]
    placed = part["classification"]
    known = (placed["without_bos"], placed["by"].partition(", ")[2]) if placed else ("", "")
    families = [(family, ", ".join(f"`{one}`" for one in names)) for family, names in part["families"].items()]
    for number, (family, by) in enumerate(families or [("none found", "")]):
        yield (line["name"] if number == 0 else "", family, by, *(known if number == 0 else ("", "")))


def _inverted_row(name: str, part: Line) -> tuple[Any, ...]:
    abilities = part.get("abilities", {})
    padding = " and ".join(abilities.get("padding", ()))
    understood = {key: "yes" if abilities.get(key) else None for key in ABILITIES} | {"padding": padding}
    outcomes = (_outcome(part, place) for place in ("middle", "final"))
    return (name, part.get("architecture"), part.get("blocks"), *outcomes, *understood.values(), part["seconds"])


def _reasons(line: Line) -> Iterable[tuple[Any, ...]]:
    """Why a class was not recovered, once where the reason is one for both places."""
    part = line["inversion"]
    if "failure" in part:
        yield line["name"], "everywhere", part["failure"], part["reason"]
        return
    ends = {place: part[place] for place in ("middle", "final") if part[place]["outcome"] != "recovered"}
    kinds = dict.fromkeys((end["outcome"], end["reason"]) for end in ends.values())
    for outcome, reason in kinds:
        places = [place for place, end in ends.items() if (end["outcome"], end["reason"]) == (outcome, reason)]
        yield line["name"], " and ".join(places), outcome, reason


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """A table in Markdown, and an empty line behind it; no table where there are no rows."""
    written = [[("" if cell is None else str(cell)).replace("|", "/") for cell in row] for row in rows]
    if not written:
        return ["None.", ""]
    return [_row(columns), "|" + "---|" * len(columns), *map(_row, written), ""]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
