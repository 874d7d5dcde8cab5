"""Where architectures stand in the classification: each once, under a heading that the page has."""

from pathlib import Path

import pytest

from proofs.theorems.architectures import BY_TYPE, PAGE, PLACES, STATES, WINDOWS, placement

TEXT = (Path(__file__).parents[2] / PAGE).read_text()


def test_every_placement_names_a_heading_of_the_page() -> None:
    for place in (*PLACES, WINDOWS):
        assert f"\n## {place.by.partition(' (')[0]}\n" in TEXT
        assert place.to_json()["checked"] is False


def test_every_architecture_stands_in_one_place() -> None:
    assert sum(map(len, PLACES.values())) == len(BY_TYPE)


@pytest.mark.parametrize("name", ["llama", "falcon"])
def test_windows_and_rounded_tables_are_no_rotary_positions(name: str) -> None:
    assert placement(name) is not WINDOWS
    assert placement(name, windows_everywhere=True) is WINDOWS
    assert placement(name, alibi=True) is None


@pytest.mark.parametrize("name", BY_TYPE)
def test_with_windows_in_every_layer_no_placement_excludes_prompts_that_agree_within_reach(name: str) -> None:
    """But where a state-space layer sees them: every other proof uses a layer that sees the whole prompt."""
    place = placement(name, windows_everywhere=True)
    assert place is None or place is STATES or not place.excludes("window reach")


def test_of_others_nothing_is_said() -> None:
    assert placement("rwkv") is None
    assert placement("bloom", alibi=True) is not None
