"""How every command reads its line: what it would otherwise drop, or stumble over later, is refused at once."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from typer.core import TyperCommand
from typer.exceptions import TyperException

from proofs.arguments import path_of, shown
from proofs.errors import InvalidInput

_NUMBER = re.compile(r"[-+.0-9A-Za-z]+")  # typer reads underscores and blanks too


class Command(TyperCommand):
    """A command in which nothing is given twice but lists, numbers are plain, and paths are those a file can have."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Reads the arguments as typer does.

        Raises:
            InvalidInput: an option that is given twice, of which only the last would count, a number that is not
                written plainly, or a path that is none.
        """
        given, _, order = self.make_parser(ctx).parse_args(args=[*args])
        _expect_once(order)
        try:
            rest = super().parse_args(ctx, args)
        except TyperException as error:
            raise _with_value(error, given) from None
        for parameter in self.get_params(ctx):
            value = ctx.params.get(parameter.name)
            for one in value if isinstance(value, list | tuple) else [value]:
                if isinstance(one, Path):
                    path_of(_name(parameter), one)
            text = given.get(parameter.name or "")
            if isinstance(value, int | float) and isinstance(text, str) and not _NUMBER.fullmatch(text):
                raise InvalidInput(
                    f"Expected a number for {_name(parameter)}, but got {shown(text)}; write it plainly."
                )
        return rest


def _name(parameter: Any) -> str:
    """An option by its long name, an argument as the help writes it."""
    return max(parameter.opts, key=len) if parameter.param_type_name == "option" else parameter.name.upper()


def _expect_once(order: Iterable[Any]) -> None:
    seen = set[str]()
    for parameter in order:
        if parameter.param_type_name == "option" and not parameter.multiple:
            if parameter.name in seen:
                raise InvalidInput(
                    f"Expected {_name(parameter)} once, but got it twice, of which only the last would count; leave "
                    "one away."
                )
            seen.add(parameter.name)


def _with_value(error: TyperException, given: dict[str, Any]) -> TyperException:
    """The error of a value with the value in it, where it does not stand there."""
    parameter = getattr(error, "param", None)
    value = given.get(getattr(parameter, "name", None) or "")
    if isinstance(value, str) and repr(value) not in error.message:
        error.message = f"{error.message.rstrip('.')}, but got {shown(value)}"
    return error
