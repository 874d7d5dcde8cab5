"""The hypothesis of the almost-sure theorems that no machine checks: a law of the parameters that has a density."""

from typing import Any

SINGULAR = (
    "The class's own initialisation sets {fixed} of {entries} numbers of a small copy to the same values every time. "
    "So its law has no density, and theorems 2.2 and 2.3 do not apply to it as they stand; what still holds: "
    "docs/classification.md, The usual initialisation."
)
REGULAR = "The class's own initialisation fixes no parameter of a small copy; other bonds were not looked for."
ORTHOGONAL = (
    "The class's own initialisation draws {matrices} of a small copy with orthogonal rows or columns of one "
    "length{too}. So its law has no density, and lies in no affine set with one: theorems 2.2 and 2.3, and what is "
    "known of the usual initialisation, do not apply to it."
)
ZERO = (
    " Matrices start at exactly 0: if they are output matrices of attention, prompts with one last token collide there."
)
UNKNOWN = "The library builds no small copy of the class, so its own initialisation is not known."


def law(config: Any, module: Any | None) -> dict[str, Any]:
    """What is known of the law of the parameters: of the class's own initialisation, and of given weights.

    Args:
        config: of the model.
        module: the model with its weights, where there are any.
    """
    from numerics.networks.initialisation import constant_parameters, own_initialisation

    found = own_initialisation(config)
    return {
        "hypothesis": "the parameters follow a law with a density",
        "checked": False,
        "says": UNKNOWN if found is None else _says(found),
        "own_initialisation": found
        and {
            "numbers": found.entries,
            "fixed": found.fixed,
            "at": {value: list(names) for value, names in found.always.items()},
            "partly": list(found.partly),
            "zero_matrices": list(found.zero_matrices),
            "orthogonal": list(found.orthogonal),
            "standard_deviation": getattr(config.get_text_config(), "initializer_range", None),
        },
        "still_constant": None if module is None else list(constant_parameters(module)),
    }


def _says(found: Any) -> str:
    if found.orthogonal:
        too = (
            f", and sets {found.fixed} of {found.entries} numbers to the same values every time" if found.fixed else ""
        )
        said = ORTHOGONAL.format(matrices=", ".join(found.orthogonal), too=too)
        return said + (ZERO if found.zero_matrices else "")
    if not found.fixed:
        return REGULAR
    return SINGULAR.format(fixed=found.fixed, entries=found.entries) + (ZERO if found.zero_matrices else "")
