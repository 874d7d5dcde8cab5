"""What is left of an answer where the time ended before it was checked: no token that the check might not name."""

from dataclasses import replace

from sipit.inversion.outcome import Alternative, Inversion, Outcome, TokenResult, overall


def withheld(found: Inversion, unfinished: Inversion, reason: str) -> Inversion:
    """An answer as far as a wider search bears it out, which the time ended.

    What that search decided counts. Of the rest, tokens that were named are listed instead, for the reason that is
    given; whatever else was found stays as it is. Where the two contradict each other, the wider one is right.
    """
    decided = {one.position: one for one in unfinished.tokens if one.outcome is not Outcome.BUDGET_EXHAUSTED}
    if any(_contradicts(one, found.tokens[position]) for position, one in decided.items()):
        return unfinished
    told = [one for one in found.alternatives if one.position not in decided]
    told += [one for one in unfinished.alternatives if one.position in decided]
    listed = {one.position for one in told if one.token_ids}
    tokens: list[TokenResult] = []
    for token in found.tokens:
        if token.position in decided:
            tokens.append(decided[token.position])
        elif token.token_id is None:
            tokens.append(token)
        else:
            tokens.append(replace(token, token_id=None, outcome=Outcome.BUDGET_EXHAUSTED))
            if token.position not in listed:
                told.append(Alternative(token.position, [token.token_id], reason))
    ids = [token.token_id for token in tokens]
    whole = None not in ids
    return replace(
        found,
        outcome=overall(token.outcome for token in tokens),
        token_ids=ids,
        tokens=tokens,
        alternatives=sorted(told, key=lambda one: one.position),
        text=found.text if whole else None,
        text_is_prompt=found.text_is_prompt if whole else None,
        matches_truth=found.matches_truth and whole,
        pieces=[None if token is None else piece for token, piece in zip(ids, found.pieces, strict=True)],
        working_text=found.working_text if whole else found.working_text or found.text,
    )


def _contradicts(wider: TokenResult, token: TokenResult) -> bool:
    """Whether a wider search names another token, or found what had not been found."""
    return token.outcome is Outcome.NOT_FOUND or wider.token_id not in (None, token.token_id)
