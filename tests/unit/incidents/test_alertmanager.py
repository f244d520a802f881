"""Alertmanager beside a server's history: who took it on, what it still has, and that whatever it says is text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.adapters.alertmanager import Alertmanager
from harness.adapters.json_server import Access
from harness.adapters.prometheus import Prometheus
from harness.cli import main
from harness.evidence.history import HistoryView
from harness.model import mapping
from harness.model.alertmanager import Matcher
from harness.model.errors import AdapterError, DrillyardError, UsageError
from harness.model.incident import NOT_MEASURED, Report
from harness.run.history import Wanted, fetch
from reports.incident import markdown, page
from reports.incident.make import report
from reports.incident.of_history import HistoryCase
from tests.alertmanager_server import Manager, delivered, matching, silence
from tests.incident_reports import HOSTILE
from tests.incidents import FROM, World
from tests.listener import listening
from tests.prometheus_server import Server, serving
from tests.unit.incidents.test_reports import texts

WORLD = World(silent={"replica-1": (300, 340)})
DOWN = {"alertname": "ReplicaDown", "severity": "page", "component": "replica-1"}
FIRED_S = FROM + 315  # at the first scrape after ten seconds of silence


@pytest.fixture
def manager() -> Iterator[Manager]:
    """An Alertmanager that has nothing."""
    with serving(Manager()) as found:
        yield found


def asking(manager: Manager, **environment: str) -> Alertmanager:
    """A client of it."""
    return Alertmanager(Access.of(manager.url, environment, "ALERTMANAGER", "ALERTMANAGER"), deadline_s=5.0)


def of_both(manager: Manager, folder: Path, world: World = WORLD) -> Report:
    """The report of a world's server and this Alertmanager."""
    with serving(Server(world.series(), now=lambda: FROM + world.lasts_s)) as server:
        client = Prometheus(Access.of(server.url, {}), deadline_s=5.0)
        wanted = Wanted(FROM, FROM + world.lasts_s, "", mapping.shipped())
        fetch(client, wanted, folder, lambda text: None, asking(manager))
    return report(HistoryCase(HistoryView(folder)))


def acknowledged(manager: Manager, folder: Path, *silences: dict[str, Any]) -> str:
    """When it was, as the report shows it."""
    manager.silences[:] = silences
    return of_both(manager, folder).figures()["times.acknowledged"].text


def test_the_first_silence_of_an_alert_that_fired_is_the_acknowledgement(manager: Manager, tmp_path: Path) -> None:
    """With who it was; both stand in the timeline, with where that is known from."""
    of_all, later = [matching("alertname", "ReplicaDown")], FIRED_S + 90
    manager.silences[:] = [silence(of_all, later, createdBy="Bob"), silence(of_all, FIRED_S + 40.5)]
    found = of_both(manager, tmp_path)
    assert found.figures()["times.acknowledged"].text == "22:19:55.5 UTC"
    source = found.figures()["times.acknowledged"].source
    assert source is not None
    assert (source.place, source.question) == (manager.url, "/api/v2/silences, id = aaaa-bbbb")
    said = texts(found, "timeline")
    assert "first silence of an alert that had fired: ReplicaDown, by Ada" in said
    assert "Ada silences alertname=ReplicaDown: on it" in said
    assert "Bob silences alertname=ReplicaDown: on it" in said
    assert found.made_from["alertmanager"] == manager.url


@pytest.mark.parametrize(
    ("matcher", "is_one"),
    [
        (matching("component", "replica-1"), True),
        (matching("component", "replica-2"), False),
        (matching("component", "replica-2", isEqual=False), True),
        (matching("component", "replica-[0-9]+", isRegex=True), True),
        (matching("component", "replica", isRegex=True), False),
        (matching("severity", "page|ticket", isRegex=True), True),
        (matching("alertname", ".*Down", isRegex=True), True),
        (matching("team", ""), True),
        (matching("team", "ours"), False),
    ],
)
def test_a_silence_is_of_the_alerts_that_it_matches(
    manager: Manager, tmp_path: Path, matcher: dict[str, Any], is_one: bool
) -> None:
    """As Alertmanager matches: whole texts, an absent label is empty."""
    shown = acknowledged(manager, tmp_path, silence([matcher], FIRED_S + 40))
    assert shown == ("22:19:55.0 UTC" if is_one else NOT_MEASURED)


@pytest.mark.parametrize("starts_s", [FIRED_S - 60, FIRED_S - 1, FROM + 1_201])
def test_a_silence_that_is_older_than_the_alert_or_newer_than_the_range_is_none(
    manager: Manager, tmp_path: Path, starts_s: float
) -> None:
    """Planned work, or somebody who came when it was long over."""
    assert acknowledged(manager, tmp_path, silence([matching("alertname", "ReplicaDown")], starts_s)) == NOT_MEASURED


def test_where_nobody_silenced_it_that_is_said(manager: Manager, tmp_path: Path) -> None:
    """Another sentence than where nobody was asked."""
    assert "nobody silenced an alert that had fired" in texts(of_both(manager, tmp_path), "timeline")


def test_an_alert_that_only_alertmanager_has_is_told(manager: Manager, tmp_path: Path) -> None:
    """One that is in the server's own series is not told twice, though Alertmanager knows more labels of it."""
    ends_s = FROM + 9_000
    manager.alerts[:] = [
        delivered({**DOWN, "cluster": "a"}, FIRED_S, ends_s, "suppressed"),
        delivered({"alertname": "Elsewhere", "severity": "page"}, FIRED_S - 5, ends_s),
    ]
    found = of_both(manager, tmp_path)
    said = texts(found, "timeline")
    assert found.figures()["times.detected"].text == "22:19:10.0 UTC"
    assert "alert fires: Elsewhere" in said
    assert said.count("alert fires: ReplicaDown") == 1
    assert (
        "Alertmanager has ReplicaDown (cluster=a, component=replica-1, severity=page) from here on, suppressed" in said
    )
    source = found.figures()["times.detected"].source
    assert source is not None
    assert source.place == manager.url


def test_what_people_write_there_is_text(manager: Manager, tmp_path: Path) -> None:
    """In the page no element, in the Markdown no row, no heading and no number of ours."""
    hostile = [*HOSTILE, "<script>alert(1)</script>!", "\x1b[31m|\n# head\u202e"]
    found = of_texts(manager, hostile, tmp_path / "hostile")
    expected = of_texts(manager, [f"x{n}" for n in range(len(hostile))], tmp_path / "plain")
    written, of_plain = markdown.render(found, "verify"), markdown.render(expected, "verify")
    assert list(markdown.numbers(written)) == list(markdown.numbers(of_plain))
    assert written.count("\n#") == of_plain.count("\n#")
    assert "<script>" not in page.render(found, "verify")
    assert "\x1b" not in written


def of_texts(manager: Manager, texts: Sequence[str], folder: Path) -> Report:
    """The report where each text is somebody's name, comment, id, an alert's name and a label."""
    of_it = [matching("alertname", "ReplicaDown")]
    manager.silences[:] = [
        silence(of_it, FIRED_S + 40 + n, createdBy=text, comment=text, id=text) for n, text in enumerate(texts)
    ]
    manager.alerts[:] = [
        delivered({"alertname": text, text: text}, FIRED_S + 50 + n, FROM + 9_000) for n, text in enumerate(texts)
    ]
    return of_both(manager, folder)


@pytest.mark.parametrize(
    ("instead", "kind", "said"),
    [
        ((401, "text/plain", b"Unauthorized"), UsageError, "refuses: HTTP 401; set ALERTMANAGER_TOKEN"),
        ((403, "text/plain", b""), UsageError, "HTTP 403"),
        (
            (404, "text/html", b"<html>\n<h1>404</h1></html>"),
            UsageError,
            "no Alertmanager API: found HTTP 404, text/html",
        ),
        ((200, "text/html", b"<html>login</html>"), UsageError, "no Alertmanager API"),
        ((200, "application/json", b'{"status":"success","data":[]}'), UsageError, "no Alertmanager API"),
        ((410, "application/json", b'{"status":"deprecated"}'), UsageError, "HTTP 410"),
        ((500, "application/json", b'"internal error"'), UsageError, "HTTP 500"),
        ((200, "application/json", b"[{}]"), AdapterError, "tells what is none: {}"),
        ((200, "application/json", b"[1]"), AdapterError, "tells what is none: 1"),
        ((200, "application/json", b'[{"labels": {"a": 1}}]'), AdapterError, "tells what is none"),
        ((200, "application/json", b"[" * 100_000), UsageError, "no Alertmanager API"),
    ],
)
def test_any_other_answer_is_one_line(
    manager: Manager, instead: tuple[int, str, bytes], kind: type[DrillyardError], said: str
) -> None:
    """What was found, what was expected."""
    manager.instead = instead
    for ask in (asking(manager).alerts, asking(manager).silences):
        with pytest.raises(kind) as error:
            ask()
        assert said in str(error.value)
        assert "\n" not in str(error.value)


def test_times_that_are_none_are_one_line(manager: Manager) -> None:
    """Without a zone, no time, a number."""
    for value in ("2026-11-28T14:00:00", "yesterday", 5):
        manager.silences[:] = [silence([], FIRED_S, startsAt=value)]
        with pytest.raises(AdapterError, match="tells what is none"):
            asking(manager).silences()


def test_nobody_there_is_one_line() -> None:
    """A closed port, and a server that hangs up."""
    for says in (b"", b"SSH-2.0-OpenSSH_9.2\r\n"):
        with listening(says) as other:
            client = Alertmanager(Access.of(f"http://127.0.0.1:{other.port}", {}), deadline_s=2.0)
            with pytest.raises(AdapterError, match=r"does not answer.*expected an Alertmanager"):
                client.alerts()
    with pytest.raises(AdapterError, match="does not answer"):
        client.silences()


def test_it_has_variables_of_its_own(manager: Manager) -> None:
    """The server's token is not sent to it."""
    asking(manager, ALERTMANAGER_TOKEN="another-token-of-it", PROMETHEUS_TOKEN="the-servers-own-token").alerts()
    assert manager.asked[-1][0]["Authorization"] == "Bearer another-token-of-it"


def test_as_people_ask_for_it(manager: Manager, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By option; verify asks it again, and tells when a silence is another one. A refusal leaves no folder behind."""
    manager.silences[:] = [silence([matching("alertname", "ReplicaDown")], FIRED_S + 40)]
    with ExitStack() as stack:
        server = stack.enter_context(serving(Server(WORLD.series(), now=lambda: FROM + 1_200.0)))
        of = ["--prom", server.url, "--from", f"{FROM:.0f}", "--to", f"{FROM + 1_200:.0f}"]
        asked = ["incident", *of, "--alertmanager", manager.url]
        assert main.main([*asked, "--out", str(tmp_path / "a")]) == 0
        assert main.main(["incident", "verify", str(tmp_path / "a" / "incident.md")]) == 0
        manager.silences[0]["startsAt"] = "2023-11-14T22:20:30Z"
        capsys.readouterr()
        assert main.main(["incident", "verify", str(tmp_path / "a" / "incident.md")]) == 1
        said = "times.acknowledged: the file says 22:19:55.0 UTC, asked again it is 22:20:30.0 UTC"
        assert said in capsys.readouterr().out
        manager.instead = (403, "text/plain", b"")
        assert main.main([*asked, "--out", str(tmp_path / "b")]) == 64
        assert "refuses: HTTP 403; set ALERTMANAGER_TOKEN" in capsys.readouterr().err
        assert not (tmp_path / "b").exists()
        assert main.main(["incident", *of, "--alertmanager", "alertmanager:9093", "--out", str(tmp_path / "b")]) == 64
        assert "ALERTMANAGER=alertmanager:9093: expected http" in capsys.readouterr().err


@pytest.mark.parametrize(
    "value", ["(a+)+b", "(a|a)*", "a{1,9}{1,9}", "a*a*a*a*b", "(?P<n>a)", "[", "a**", "[[a]&&b]", "\\p{L}"]
)
def test_an_expression_that_could_take_for_ever_is_not_looked_at(value: str) -> None:
    """It is then not known whether it matches, which is no acknowledgement; others are as fast as they are long."""
    assert Matcher("a", value, True).holds({"a": "a" * 200}) in (None, False)
    assert Matcher("a", "(a+)+b", True).holds({"a": "a" * 200}) is None
