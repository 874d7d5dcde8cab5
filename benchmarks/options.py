"""The options of the benchmarks. A wrong one ends the program with one sentence and status 2."""

import argparse
import sys
from collections.abc import Callable, Collection
from typing import NoReturn

from proofs.errors import SipitError


class Options(argparse.ArgumentParser):
    """A parser whose errors are one sentence each."""

    def error(self, message: str) -> NoReturn:
        """Ends the program; without the usage, which hides the sentence."""
        self.exit(2, f"{self.prog}: {message[:1].upper()}{message[1:]}; see --help.\n")


def answered(main: Callable[[], None]) -> None:
    """Runs a benchmark. An error of the project, such as a layer beyond the last, is printed, with status 2."""
    try:
        main()
    except SipitError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def whole(least: int = 1, of: int = 1) -> Callable[[str], int]:
    """A whole number from `least` on, a multiple of `of`."""
    kind = "whole number" if of == 1 else f"multiple of {of}"

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or value % of:
            raise argparse.ArgumentTypeError(f"expected a {kind} from {least} on, but got {text!r}")
        return value

    return read


def seconds(text: str) -> float:
    """A time that is more than none."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, but got {text!r}")
    return value


def several(least: int = 0) -> Callable[[str], list[int]]:
    """Whole numbers with commas between them."""
    one = whole(least)
    return lambda text: [one(part) for part in text.split(",")]


def among(known: Collection[str]) -> Callable[[str], list[str]]:
    """Names with commas between them, each of them known."""

    def read(text: str) -> list[str]:
        named = text.split(",")
        unknown = [name for name in named if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(known)}, but got {unknown[0]!r}")
        return named

    return read
