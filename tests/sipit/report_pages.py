"""Inversion records made up for tests of pages, and a page read back."""

from html.parser import HTMLParser
from typing import Any

from proofs.evidence import Record
from proofs.verdict import Verdict


def inversion_record(*prompts: dict[str, Any], verdict: Verdict = Verdict.RECOVERED, **provenance: Any) -> Record:
    result = {
        "layer": 15,
        "policy": "draft",
        "tolerance": {"value": 3.55e-5, "kind": "measured", "derived_from": "4 x the noise over 183 positions"},
        "prompts": list(prompts),
    }
    known = {"model": "smollm2", "dtype": "float32", "seed": 0, "versions": {"torch": "2.9.0"}}
    return Record("invert", verdict, result, known | provenance, 1.5)


def prompt_entry(pieces: list[str | None], *, outcome: str = "recovered", **more: Any) -> dict[str, Any]:
    """An entry of `prompts`: a token where there is a piece, else a position with this outcome."""
    ids = [None if piece is None else 100 + at for at, piece in enumerate(pieces)]
    return {
        "outcome": outcome,
        "token_ids": ids,
        "text": None if None in pieces else "".join(piece or "" for piece in pieces),
        "alternatives": [],
        "tokens": [
            {
                "position": at,
                "token_id": token,
                "outcome": "recovered" if token is not None else outcome,
                "residual": (at + 1) * 1.01e-7 if token is not None else 0.5,
                "margin": 0.2 + at / 1000,
                "rivals_tested": 16,
                "candidates_tested": 17,
            }
            for at, token in enumerate(ids)
        ],
        "pieces": pieces,
        "forward_passes": 3,
        "token_positions": 180,
        "candidates_tested": 170,
        "seconds": 2.25,
        "matches_truth": None,
        "explanation": f"Explained: {outcome}.",
        "largest_residual": 4.25e-7,
        "smallest_margin": 0.2,
        **more,
    }


class Page(HTMLParser):
    """A page read back: its elements are balanced, and the text of every element is kept by class."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[tuple[str, str]] = []
        self.source, self.text = page, ""
        self.tokens: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append((tag, dict(attrs).get("class") or ""))
            if "tk" in self.open[-1][1].split():
                self.tokens.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        classes = [name.split() for _, name in self.open]
        if not any(tag == "style" for tag, _ in self.open):
            self.text += data
        if ["tip"] not in classes and any("tk" in names for names in classes):
            self.tokens[-1] += data


def classes_of(page: Page, name: str) -> list[set[str]]:
    found = [set((attributes.get("class") or "").split()) for _, attributes in page.elements]
    return [names for names in found if name in names]


NASTY = [
    "<script>alert(1)</script>", "</style><img src=x onerror=alert(1)>", '" onfocus="alert(1)', "' autofocus x='",
    "{{ 7 * 7 }}", "{% raw %}", "&lt;b&gt;", "]]>", "<!--", "\x00", "\u202eabc\u2066", "\u200b", "a|b", "\\|",
    "```\n# x", "\r\n", "\ud800", "\ufffe", "https://example.org", "![x](https://example.org/x.png)", "$a$",
    "- one", "+ one", "1. one", "12) one", "    code", "===", "---", "-", "www.example.org", "@name", "a@example.org",
]  # fmt: skip


def nasty(value: Any, text: str) -> Any:
    """The value with every text in it replaced, but the words that say what kind of thing it is."""
    kinds = {"kind", "outcome", "guarantee", "policy", "format", "subject", "reason"}
    if isinstance(value, dict):
        return {
            key: entry if key in kinds and isinstance(entry, str) else nasty(entry, text)
            for key, entry in value.items()
        }
    if isinstance(value, list):
        return [nasty(entry, text) for entry in value]
    return text if isinstance(value, str) else value
