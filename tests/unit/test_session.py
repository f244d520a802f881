"""A session: what has to go on while it lasts, the end of its load, and the way out, of which each part is tried."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.judge.drill import Reading
from harness.model.errors import FaultError, RecordError, StackError
from harness.run.session import Session, opened
from tests import sessions

#: The way out of a session that no injector works on, by its names.
PARTS = ("_heal_everything", "stop_load", "sampling.end", "sampling.close", "_collect_logs", "_finish_requests")


def test_events_that_cannot_be_written_end_the_run(tmp_path: Path) -> None:
    """Nothing is held, injected or waited for that nobody could judge."""
    session = sessions.session(tmp_path)
    session.tick("baseline", 10.0)
    session.run.log.failed = RecordError("events.jsonl cannot be written: No space left on device")
    with pytest.raises(RecordError, match="No space left"):
        session.tick("baseline", 10.0)


@pytest.mark.parametrize(
    ("load", "says"),
    [
        ({"ended": None, "silent": True}, "has not reported for 6 s"),
        ({"ended": 1, "death": "the load generator died (status 1)"}, "died .status 1"),
        ({"ended": 0, "death": ""}, "ended by itself"),
    ],
)
def test_a_silent_or_dead_load_generator_ends_the_run(load: dict[str, object], says: str, tmp_path: Path) -> None:
    """It is stopped, hangs or has died: nothing is measured any more."""
    session = sessions.session(tmp_path)
    session.load = SimpleNamespace(windows=[], **load)  # type: ignore[assignment]
    with pytest.raises(StackError, match=says):
        session.tick("baseline", 10.0)


@pytest.mark.parametrize("died", ["", "the load generator died (status 74): its records cannot be written"])
def test_the_load_generators_end_is_recorded(died: str, tmp_path: Path) -> None:
    """With its status, what it had told, and the reason where it was not asked to end so; and once."""

    async def stop(_: float) -> None:
        pass

    session = sessions.session(tmp_path)
    load = SimpleNamespace(stop=stop, ended=74 if died else 0, reported_ended=7, death=died)
    session.load = load  # type: ignore[assignment]
    asyncio.run(session.stop_load())
    asyncio.run(session.stop_load())
    (told,) = sessions.log(session).events
    assert told.pop("kind") == "load_stopped"
    assert told == ({"status": 74, "ended": 7, "why": died} if died else {"status": 0, "ended": 7})


@pytest.mark.parametrize("down", [False, True])
def test_what_checks_read_after_the_load_is_waited_for(
    down: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever check of the run wants it; a stack that was taken down meanwhile answers nobody."""
    wanted, waited = Reading("generation_tokens_total", 4), list[Reading]()

    async def stop(_: float) -> None:
        pass

    async def read_again(readings: list[Reading], within_s: float) -> None:
        waited.extend(readings)

    checks = [SimpleNamespace(after_load=()), SimpleNamespace(after_load=(wanted,))]
    session = sessions.session(tmp_path, checks=checks)
    session.load = SimpleNamespace(stop=stop, ended=0, reported_ended=7, death="")  # type: ignore[assignment]
    session._taken_down = down
    monkeypatch.setattr(session.sampling, "read_again", read_again)
    asyncio.run(session.stop_load())
    assert waited == ([] if down else [wanted])


def _broken(session: Session, errors: dict[str, BaseException], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have those parts of the way out raise their errors; what was tried."""
    tried: list[str] = []

    def part(name: str) -> object:
        async def tried_part() -> None:
            tried.append(name)
            if name in errors:
                raise errors[name]

        return tried_part

    for name in PARTS:
        owner, _, attribute = name.rpartition(".")
        monkeypatch.setattr(session.sampling if owner else session, attribute, part(name))
    session.before_heal.append(part("an injector's"))  # type: ignore[arg-type]
    return tried


@pytest.mark.parametrize("error", [KeyError("x"), AssertionError("x"), asyncio.CancelledError("x")], ids=repr)
@pytest.mark.parametrize("name", ["an injector's", *PARTS])
def test_a_bug_in_one_part_of_the_way_out_skips_no_other(
    name: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is injected is rolled back, load and probes stop, logs and records are kept; the bug is recorded."""
    session = sessions.session(tmp_path)
    tried = _broken(session, {name: error}, monkeypatch)
    (bug,) = asyncio.run(session.leave())
    assert tried == ["an injector's", *PARTS]
    assert sessions.screen(session).ended
    assert bug is error or str(bug) == "CancelledError: x"
    (told,) = sessions.log(session).events
    assert told == {"kind": "cleanup_problem", "why": f"{type(bug).__name__}: {bug}"}


def test_what_people_can_mend_on_the_way_out_is_recorded_and_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault that could not be rolled back is an event; the verdict tells of it."""
    session = sessions.session(tmp_path)
    _broken(session, {"_heal_everything": FaultError("still injected: a")}, monkeypatch)
    assert asyncio.run(session.leave()) == []
    assert sessions.log(session).kinds == ["cleanup_problem"]


async def _conducted(session: Session, monkeypatch: pytest.MonkeyPatch, *errors: Exception | None) -> None:
    """A session in which something dies of the first of the errors, and the way out of the others."""
    monkeypatch.setattr("harness.run.session.Session", lambda run: session)
    monkeypatch.setattr(session, "_stack_lost", asyncio.Event().wait)
    _broken(session, dict(zip(PARTS, filter(None, errors[1:]), strict=False)), monkeypatch)

    async def play() -> None:
        if errors[0] is not None:
            raise errors[0]

    async with opened(session.run) as begun:
        await begun.until_ended(play())


BUG, ANOTHER, MENDED = KeyError("x"), AssertionError("y"), StackError("load died")


@pytest.mark.parametrize(
    ("errors", "raised", "kinds"),
    [
        ((None,), None, []),
        ((MENDED, FaultError("still there")), None, ["cleanup_problem", "aborted"]),
        ((BUG,), BUG, ["aborted"]),
        ((None, BUG), BUG, ["cleanup_problem"]),
        ((MENDED, BUG), BUG, ["cleanup_problem", "aborted"]),
        ((BUG, ANOTHER), (BUG, ANOTHER), ["cleanup_problem", "aborted"]),
    ],
)
def test_a_bug_is_raised_when_the_way_out_is_behind_it(
    errors: tuple[Exception | None, ...],
    raised: Exception | tuple[Exception, ...] | None,
    kinds: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wherever it was: the run ends as a bug of the harness, not as if all were well. Several are raised together."""
    session = sessions.session(tmp_path, scenario=SimpleNamespace(abort_when=()))
    found: list[Exception] = []
    try:
        asyncio.run(_conducted(session, monkeypatch, *errors))
    except ExceptionGroup as group:
        found += group.exceptions
    except Exception as error:
        found.append(error)
    assert found == ([] if raised is None else list(raised) if isinstance(raised, tuple) else [raised])
    assert sessions.log(session).kinds == kinds
