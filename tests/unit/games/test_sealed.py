"""What is drawn of a game: the same for a seed, other answers for another, and a digest that gives nothing away."""

from __future__ import annotations

import pytest

from harness.model.game import Game
from harness.model.sealed import Drawn, candidates, possibilities
from harness.model.topology import Topology
from harness.plan import games
from stack.stacks.vllm_haproxy import STACK

TOPOLOGY = Topology(STACK)
SEEDS = range(20)


def game(name: str) -> Game:
    """A shipped one."""
    return games.load(games.find(name), TOPOLOGY)


def answer(drawn: Drawn) -> tuple[str, tuple[str, ...]]:
    """What a right diagnosis names."""
    return drawn.mechanism, drawn.components


@pytest.mark.parametrize("name", games.names())
def test_a_seed_repeats_the_draw(name: str) -> None:
    """All of it, and the digest under the same salt."""
    played = game(name)
    one, again = (games.drawn(played, TOPOLOGY, 7) for _ in range(2))
    assert one == again
    assert one.digest("salt") == again.digest("salt")


@pytest.mark.parametrize("name", games.names())
def test_other_seeds_have_other_answers(name: str) -> None:
    """Of each inject, and other times and decoys: who has read the file, or played before, does not know them."""
    played = game(name)
    sealed = [games.drawn(played, TOPOLOGY, seed) for seed in SEEDS]
    for drawn in zip(*(one.injects for one in sealed), strict=True):
        assert len({answer(one) for one in drawn}) >= 2
        assert len({one.later_s for one in drawn}) >= 2
        assert len({(one.decoy, one.decoy_after_s) for one in drawn}) >= 2
    assert len({one.digest("salt") for one in sealed}) == len(SEEDS)


@pytest.mark.parametrize("name", games.names())
def test_what_is_drawn_is_one_of_what_may_be(name: str) -> None:
    """A variant of the file with its mechanism, targets of the stack, times and decoys in their bounds."""
    played = game(name)
    for seed in SEEDS:
        for inject, drawn in zip(played.injects, games.drawn(played, TOPOLOGY, seed).injects, strict=True):
            variant, decoy = inject.variants[drawn.variant], inject.decoys[drawn.decoy]
            assert (drawn.inject, drawn.mechanism) == (inject.id, variant.mechanism)
            possible = candidates(variant, games.targets(TOPOLOGY))
            for asked, fault in zip(variant.faults, drawn.faults, strict=True):
                assert fault.on in possible[asked.on]
                assert (fault.type, fault.options) == (asked.type, asked.options)
            assert 0 <= drawn.later_s <= inject.when.spread
            assert decoy.delay <= drawn.decoy_after_s <= decoy.delay + decoy.spread


def test_a_target_is_the_same_in_the_inject() -> None:
    """Faults that say the same ``on`` are put on one target, and only on one that each of them takes."""
    one = game("bad-night").injects[0]
    deaf = one.variants[0].faults[0]
    both = (deaf, deaf.model_copy(update={"type": "pause"}))
    inject = one.model_copy(update={"variants": (one.variants[0].model_copy(update={"faults": both}),)})
    changed = game("bad-night").model_copy(update={"injects": (inject,)})
    for seed in SEEDS:
        (drawn,) = games.drawn(changed, TOPOLOGY, seed).injects
        assert len({fault.on for fault in drawn.faults}) == 1
    assert possibilities(inject, games.targets(TOPOLOGY)) == 2


def test_a_right_answer_is_what_the_variant_says() -> None:
    """A drawn target, and beside it what else is right; where it names others, what else is broken is none."""
    night, release = game("bad-night"), game("release-day")
    nights = [games.drawn(night, TOPOLOGY, seed).injects[2] for seed in SEEDS]
    drained = {one.components for one in nights if one.faults[0].type == "drain"}
    assert drained == {("replica-1", "gateway-a"), ("replica-2", "gateway-a")}
    cut = {one.components for one in nights if one.faults[0].type == "timeout"}
    assert cut == {("gateway-a-to-replica-1",), ("gateway-a-to-replica-2",)}
    released = [games.drawn(release, TOPOLOGY, seed).injects[0] for seed in SEEDS]
    slow_paths = [one for one in released if len(one.faults) == 2]
    assert slow_paths
    assert all(one.components == (one.faults[0].on,) and one.faults[0].type == "latency" for one in slow_paths)


def test_an_inject_is_drawn_by_itself() -> None:
    """A change of one leaves the answers of the others as they were."""
    whole = game("bad-night")
    without = whole.model_copy(update={"injects": whole.injects[1:]})
    assert games.drawn(without, TOPOLOGY, 3).injects == games.drawn(whole, TOPOLOGY, 3).injects[1:]


def test_the_digest_needs_its_salt() -> None:
    """With another salt it is another: nobody can try out all seeds. It is of all that was drawn."""
    sealed = games.drawn(game("bad-night"), TOPOLOGY, 3)
    assert sealed.digest("a") != sealed.digest("b")
    assert len(sealed.digest("a")) == 64
    other = games.drawn(game("bad-night"), TOPOLOGY, 4)
    changed = [type(sealed)(sealed.game, sealed.seed, other.injects), type(sealed)("x", sealed.seed, sealed.injects)]
    assert all(one.digest("a") != sealed.digest("a") for one in changed)


def test_nothing_is_drawn_without_a_target() -> None:
    """A game that was loaded for another stack."""
    with pytest.raises(ValueError, match=r"nothing can be drawn for 'replica-\*'"):
        games.drawn(game("first-watch"), Topology(STACK.__class__("empty", (), ())), 1)
