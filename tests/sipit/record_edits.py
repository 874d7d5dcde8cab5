"""Random edits of records, and the judgement that an edit is noticed, or made where nothing is vouched for."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proofs import InvalidInput, Verdict
from proofs.kernel.result import same
from sipit.claims import verify as verifying
from sipit.claims.fields import LATER
from sipit.claims.verify import verify_record

ACCEPTED = (Verdict.ACCEPTED, Verdict.ACCEPTED_SAMPLED)


class Honest:
    """An honest record, what is vouched for in it, and the weights that it is about."""

    def __init__(self, folder: Path, text: str, weights: Any = None) -> None:
        self.data = json.loads(text)
        self._file, self._weights = folder / "record.json", weights
        self._seen: dict[str, Any] = {}
        self.outcome = self.verified(self.data)
        assert self.outcome.verdict in ACCEPTED, self.outcome.result["reason"]

    def verified(self, data: Any) -> Any:
        """The record of `verify`; a certificate that was already checked is not checked again."""
        self._file.write_text(json.dumps(data), encoding="utf-8")
        true_check = verifying.check

        def check(certificate: Any, *rest: Any, **options: Any) -> Any:
            key = json.dumps(certificate, sort_keys=True)
            if key not in self._seen:
                self._seen[key] = true_check(certificate, *rest, **options)
            return self._seen[key]

        verifying.check = check
        try:
            return verify_record(self._file, weights=self._weights)
        finally:
            verifying.check = true_check

    def assert_noticed(self, seed: int) -> str:
        """Edits the record at random; see below."""
        return self.assert_this_is_noticed(*edited(self.data, random.Random(seed)))

    def assert_this_is_noticed(self, data: Any, what: str) -> str:
        """An edited record is refused, rejected, or the edited leaves are named as not vouched for."""
        try:
            outcome = self.verified(data)
        except InvalidInput:
            return "refused"
        if outcome.verdict not in ACCEPTED:
            assert outcome.result["claim"] is None
            assert outcome.result["derived"] == []
            return "rejected"
        before, after = dict(leaves(self.data)), dict(leaves(data))
        # Records did not have these at first, and claim less without them.
        less = [f"result.{name}" for name in LATER if name not in data["result"]]
        for path in before.keys() | after.keys():
            if any(f"{path}.".startswith(f"{name}.") for name in less):
                continue
            if path in before and path in after and same(before[path], after[path]):
                continue
            vouched = outcome if path in after else self.outcome
            assert covering(vouched.result, path) == (0, 1), (what, path)
        return "not vouched for"


def leaves(data: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with its dotted path; an empty list or object is one."""
    below = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    found = False
    for name, value in below:
        found = True
        yield from leaves(value, f"{path}.{name}".removeprefix("."))
    if not found:
        yield path, data


def objects(data: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every object in a record."""
    if isinstance(data, dict):
        yield path
    for name, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from objects(value, (*path, str(name)))


def covering(result: dict[str, Any], path: str) -> tuple[int, int]:
    """How often a leaf is among the derived paths, and among those not vouched for."""
    return result["derived"].count(path), result["not_vouched_for"].count(path)


def edited(record: Any, draw: random.Random) -> tuple[Any, str]:
    """A copy with one random change that changes it as JSON, and the change in words."""
    while True:
        data = copy.deepcopy(record)
        place: Any = data
        path: list[Any] = []
        while True:
            names = list(place) if isinstance(place, dict) else list(range(len(place)))
            name = draw.choice(names)
            if len(path) < 2 and draw.random() < (0.8, 0.4)[len(path)]:  # most of what matters is in these two
                name = ("result", "certificate")[len(path)] if path in ([], ["result"]) else name
            path.append(name)
            if not isinstance(place[name], dict | list) or not place[name] or draw.random() < 0.15:
                break
            place = place[name]
        what = _change(place, name, draw)
        if not same(data, record):
            return data, f"{what} at {'.'.join(map(str, path))}"


def _change(place: Any, name: Any, draw: random.Random) -> str:
    """Changes one entry of an object or a list."""
    kind = draw.choice(["value"] * 5 + ["delete", "add", "double", "reorder", "rename"])
    value = place[name]
    if kind == "delete":
        del place[name]
    elif kind == "add" and isinstance(place, dict):
        place[draw.choice(["note", "verified", "0"])] = draw.choice([True, 1, "proved", None, []])
    elif kind in ("add", "double") and isinstance(place, list):
        place.insert(draw.randrange(len(place) + 1), copy.deepcopy(value))
    elif kind == "reorder" and isinstance(place, list):
        draw.shuffle(place)
    elif kind == "rename" and isinstance(place, dict):
        place[f"{name} "] = place.pop(name)
    else:
        kind, place[name] = "value", _another(value, draw)
    return kind


def _another(value: Any, draw: random.Random) -> Any:
    """Another value, often one that Python takes for the same."""
    if isinstance(value, bool):
        return draw.choice([not value, int(value), float(value), str(value), None])
    if isinstance(value, int | float):
        return draw.choice([value + 1, -value - 1, float(value), bool(value), str(value), None, [value]])
    if isinstance(value, str):
        changed = [f"{value} ", value.upper(), value[:-1], f"0{value}", "", None, [value], value.replace("1", "2")]
        return draw.choice(changed)
    return draw.choice([0, False, True, "", [], {}, [None]])
