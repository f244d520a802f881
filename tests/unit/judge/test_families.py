"""Every check that any drill asks has a subject, which is the file that declares it."""

from __future__ import annotations

import pytest

from harness.judge import drill, families, verdicts


@pytest.mark.parametrize("name", drill.names())
def test_every_check_has_a_subject(name: str) -> None:
    """None of them is taken for one of another version."""
    practised = drill.load(name)
    ids = {check.id for check in verdicts.checks(practised, external=True)}
    assert [one for one in sorted(ids) if families.of(one) in (families.OTHERS, families.OBJECTIVES)] == []


def test_subjects_are_told_apart() -> None:
    """Two checks of one file have one subject, an objective that of all objectives, an unknown one none of ours."""
    assert families.of("gateway-ejects-replica") == families.of("gateway-readmits-replica")
    assert families.of("users-recover") == "Users are served again soon after a heal."
    assert families.of("slo-availability") == families.OBJECTIVES
    assert families.of("asked-by-an-older-version") == families.of("") == families.OTHERS
