"""What the harness' questions cost is counted to the token."""

from __future__ import annotations

from harness.probes.own_tokens import OwnTokens


def counts(own: OwnTokens) -> dict[str, int]:
    """The counters of replica-1."""
    return dict(vars(own._counts["replica-1"]))


def test_a_whole_answer_costs_what_it_got() -> None:
    """What it left of the tokens it asked for is taken for the next one: no doubt adds up."""
    own = OwnTokens(("replica-1",))
    for _ in range(10):
        with own.asking("replica-1", 48) as ask:
            ask.got, ask.whole = 20, True
    found = counts(own)
    assert found["got"] == found["ended"] == 200
    assert 200 <= found["asked"] <= 200 + 48


def test_while_an_answer_is_under_way_all_of_it_may_be_made() -> None:
    """Asked minus ended covers it, whether its tokens are new or left over."""
    own = OwnTokens(("replica-1",))
    with own.asking("replica-1", 48) as ask:
        ask.got, ask.whole = 20, True
    with own.asking("replica-1", 48):
        found = counts(own)
        assert found["asked"] - found["ended"] >= 48


def test_a_failed_answer_may_have_cost_anything() -> None:
    """All that it asked for has ended, and only what was seen is certain."""
    own = OwnTokens(("replica-1",))
    with own.asking("replica-1", 48) as ask:
        ask.got = 5
    assert counts(own) == {"asked": 48, "ended": 48, "got": 5}
