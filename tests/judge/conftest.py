"""What holds for all tests of the judge holds for the drills' runs, too."""

from tests.unit.judge.conftest import *  # noqa: F403
