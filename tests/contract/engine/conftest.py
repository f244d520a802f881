"""The same engine for all contract tests of a session: the simulator and, marked ``realstack``, real vLLM."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.engine.running import FLAGS, RunningEngine, running
from tests.waiting import eventually

ENGINES = ["sim", pytest.param("vllm", marks=[pytest.mark.realstack, pytest.mark.timeout(300)])]


@pytest.fixture(scope="session", params=ENGINES)
def started_engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    """One process for the session."""
    with running(request.param, tmp_path_factory.mktemp("engine") / "log", *FLAGS) as engine:
        yield engine


@pytest.fixture
def engine(started_engine: RunningEngine) -> RunningEngine:
    """An idle engine."""
    assert eventually(started_engine.is_idle), "the test before left something running"
    return started_engine


@pytest.fixture(params=ENGINES)
def doomed_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningEngine]:
    """An engine of its own, for a test that ends it."""
    with running(request.param, tmp_path / "log", *FLAGS, replica="replica-2") as engine:
        yield engine
