"""When the injects of a game may begin and end, and how that is said."""

from __future__ import annotations

import pytest

from harness.model.game import Game, When, begins, clock, length, windows
from harness.plan import games


def timed(*whens: When) -> Game:
    """A game whose injects last 10 min each at most, and are watched for 2 min."""
    night = games.load(games.find("bad-night"))
    injects = (
        one.model_copy(update={"when": when, "lasts_at_most": 600.0})
        for one, when in zip(night.injects, whens, strict=False)
    )
    return night.model_copy(update={"injects": tuple(injects)})


def when(**said: float | str) -> When:
    """As it is once it was loaded."""
    return When.stored(said)


AT = when(at=300.0, spread=60.0)


@pytest.mark.parametrize(
    ("second", "window"),
    [
        (when(at=1200.0), (1200, 1200, 1920)),
        (when(at=1200.0, spread=30.0), (1200, 1230, 1950)),
        (when(after="deaf-replica"), (420, 1080, 1800)),
        (when(after="deaf-replica", delay=60.0, spread=30.0), (480, 1170, 1890)),
        (when(on="ops.restart", at_most=1200.0), (420, 1200, 1920)),
        (when(on="ops.restart", at_most=1200.0, delay=60.0, spread=30.0), (480, 1290, 2010)),
    ],
)
def test_an_inject_begins_in_its_window(second: When, window: tuple[float, float, float]) -> None:
    """At the earliest once the one before was mitigated at once and watched; at the latest when that is surely over."""
    found = windows(timed(AT, second))
    assert vars(found["deaf-replica"]) == {"earliest_s": 300, "latest_s": 360, "over_s": 1080}
    assert tuple(vars(found["cancel-storm"]).values()) == window


def test_no_inject_begins_before_the_one_before_it_is_over() -> None:
    """Also one that follows an earlier one: it waits."""
    found = windows(timed(AT, when(after="deaf-replica"), when(after="deaf-replica", delay=1.0)))
    before, last = found["cancel-storm"], found["lost-backend"]
    assert (last.earliest_s, last.latest_s) == (before.earliest_s + 120, before.over_s)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (when(at=300.0), "at 5:00"),
        (when(at=305.0, spread=90.0), "at 5:05, up to 1.5 min later"),
        (when(after="x"), "at once after x is over"),
        (when(after="x", delay=45.0, spread=60.0), "45 s after x is over, up to 1 min later"),
        (when(on="ops.restart", at_most=1200.0), "at once after the players' ops.restart, or after 20:00 without it"),
    ],
)
def test_it_is_said_when_an_inject_begins(one: When, words: str) -> None:
    """In the words of the dry run and the pack."""
    assert begins(one) == words


def test_times_are_said_as_people_read_them() -> None:
    """Moments by the clock, lengths in minutes from one minute on."""
    assert [clock(at) for at in (0, 59.6, 3600)] == ["0:00", "1:00", "60:00"]
    assert [length(at) for at in (0.5, 15.7478, 59, 60, 150, 3600)] == [
        "0.5 s",
        "15.7 s",
        "59 s",
        "1 min",
        "2.5 min",
        "60 min",
    ]
