"""The job: load.json is read strictly where a mistake would change the load."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from harness.load.job import read_job
from harness.load.resolver import Pinned, Resolution
from harness.model.errors import UsageError
from tests.unit.load.jobs import make_job, write_job


def test_numbers_come_back_as_they_were(tmp_path: Path) -> None:
    """Durations and rates are dumped as numbers; reading them back changes nothing."""
    load = {
        "rate": "90/m",
        "limits": {"connect": "250ms", "total": "2m"},
        "retries": {"base": "50ms"},
        "cohorts": [{"name": "rude", "cancel_after": "75ms"}],
    }
    job = make_job(tmp_path, load)
    assert (job.load.rate, job.load.limits.connect, job.load.limits.total) == (1.5, 0.25, 120.0)
    assert (job.load.retries.base, job.load.cohorts[0].cancel_after) == (0.05, 0.075)
    assert len(job.users) == 64
    assert job.expect_versions is None


def test_limits_of_one_request_arrive(tmp_path: Path) -> None:
    """What the live windows count as good and in time, by cohort; none where the file has none."""
    told = {"chat": {"ttft_ms": 800.0, "e2e_ms": None}}
    job = make_job(tmp_path / "with", request_limits=told)
    assert {name: limits.model_dump() for name, limits in job.request_limits.items()} == told
    assert make_job(tmp_path / "without").request_limits == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": "x"}, "seed"),
        ({"keys_file": "/nonexistent/keys.json"}, "/nonexistent/keys.json"),
        ({"questions": None}, "eval prompts"),
        ({"drain_s": -1}, "drain_s"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    """A UsageError names the file and the key."""
    folder = write_job(tmp_path, {}, **change) if "questions" not in change else without_questions(tmp_path)
    with pytest.raises(UsageError, match=said):
        read_job(folder)


def test_unknown_key_of_the_load_is_refused(tmp_path: Path) -> None:
    """A misspelt key would silently change the load."""
    path = write_job(tmp_path, {}) / "load.json"
    path.write_text(path.read_text().replace('"share"', '"shrae"'))
    with pytest.raises(UsageError, match="shrae"):
        read_job(tmp_path)


def without_questions(folder: Path) -> Path:
    """load.json whose questions are not named."""
    write_job(folder, {})
    path = folder / "load.json"
    path.write_text(path.read_text().replace('"questions"', '"other"'))
    return folder


TARGET = {"name": "llm.example.com", "address": "127.0.16.1", "port": 8080, "authority": "llm.example.com", "tls": True}


def test_users_of_a_target_share_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that is not ours gives out one key: it is in the environment, not in a file, and none is fine."""
    monkeypatch.setenv("TARGET_KEY", "foreign-0123456789")
    job = make_job(tmp_path / "key", service=TARGET, keys_file=None, key_env="TARGET_KEY")
    assert set(job.users.values()) == {"foreign-0123456789"}
    assert len(job.users) > 20
    assert "foreign-0123456789" not in (tmp_path / "key" / "load.json").read_text()
    assert set(make_job(tmp_path / "none", service=TARGET, keys_file=None).users.values()) == {""}
    monkeypatch.delenv("TARGET_KEY")
    with pytest.raises(UsageError, match="TARGET_KEY"):
        make_job(tmp_path / "unset", service=TARGET, keys_file=None, key_env="TARGET_KEY")


@pytest.mark.parametrize("where", [{}, {"address": "127.0.16.1", "dns": ["127.0.16.1", 53]}])
def test_a_service_is_found_in_one_way(where: dict[str, object], tmp_path: Path) -> None:
    """By DNS or at an address: without either nobody gets there, with both nobody knows which counts."""
    with pytest.raises(UsageError, match="either dns or address"):
        make_job(tmp_path, service={"name": "llm.example.com", "port": 8080, **where})


def test_a_pinned_address_is_never_asked_for() -> None:
    """The load of a target goes to the one address, also after a failed connection, and no query is counted."""
    pinned = Pinned("127.0.16.1")
    for _ in range(3):
        assert pinned.resolve(random.Random(1)) == Resolution("127.0.16.1", None)
        pinned.invalidate()
