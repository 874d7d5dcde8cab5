"""What may be asked of a vocabulary: prefixes and numbers of tokens that fit the graph."""

import pytest

from proofs import InvalidInput
from proofs.kernel.vocabulary import check_question
from tests.proofs.building import attention_net


@pytest.mark.parametrize(("length", "prefix", "tokens"), [
    (3, [1, 2], 2), (3, [1, 2], 5), (3, [0, 4], 3), (2, [4], 5),
])  # fmt: skip
def test_what_fits_is_taken(length: int, prefix: list[int], tokens: int) -> None:
    check_question(attention_net(length=length), prefix, tokens)


@pytest.mark.parametrize(("length", "prefix", "tokens", "reason"), [
    (3, [1], 5, "a prefix of 2 tokens"), (3, [1, 2, 3], 5, "a prefix of 2 tokens"), (3, [], 5, "a prefix of 2 tokens"),
    (1, [], 5, "a prefix of 1 tokens"),
    (3, [1, 2], 1, "from 2 to 5 tokens"), (3, [1, 2], 0, "from 2 to 5 tokens"), (3, [1, 2], 6, "from 2 to 5 tokens"),
    (3, [1, 5], 5, "token ids below 5"), (3, [-1, 2], 5, "token ids below 5"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(length: int, prefix: list[int], tokens: int, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        check_question(attention_net(length=length), prefix, tokens)
