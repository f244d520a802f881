"""Attempts of a run, a column at a time: rows and values as in one frame, and nothing read that nobody asks for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.evidence import attempts, memory, view
from harness.evidence.attempts import Attempts
from harness.evidence.record import REQUEST_COLUMNS, WORDS, RunFolder
from harness.evidence.view import RunView
from tests import runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A healthy run."""
    return runs.healthy_run(tmp_path_factory.mktemp("attempts") / "run")


@pytest.fixture(autouse=True, params=["read whole", "by column"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the file is read: whole, as a small one, or a column at a time, as a large one."""
    if request.param == "by column":
        monkeypatch.setattr(attempts, "ROWS_AT_ONCE", 0)
    return str(request.param)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The columns that are read, in that order."""
    columns: list[str] = []
    read = RunFolder.requests

    def requests(
        self: RunFolder, names: Sequence[str] = REQUEST_COLUMNS.names, categories: Collection[str] = ()
    ) -> pd.DataFrame:
        columns.extend(names)
        return read(self, names, categories)

    monkeypatch.setattr(RunFolder, "requests", requests)
    return columns


def test_conditions_keep_the_rows_that_a_frame_would(folder: RunFolder) -> None:
    """One after the other, by a Series or an array; with the index of the file, so that columns fit each other."""
    frame, rows = folder.requests(), Attempts.of(folder)
    pd.testing.assert_frame_equal(rows.frame(), frame)
    frame, rows = frame[frame["outcome"].eq("ok")], rows[rows["outcome"].eq("ok")]
    late, kept = frame["ttft_ms"].gt(220), rows["ttft_ms"].gt(220)
    frame, rows = frame[late], rows[kept.to_numpy()]
    assert 0 < len(rows) == len(frame) < len(late)
    pd.testing.assert_frame_equal(rows.frame(), frame, check_index_type=False)
    pd.testing.assert_frame_equal(
        rows[["request_id", "e2e_ms"]], frame[["request_id", "e2e_ms"]], check_index_type=False
    )
    pd.testing.assert_series_equal(rows["replica"].astype("str"), frame["replica"], check_index_type=False)
    assert not rows.empty
    assert rows[rows["outcome"].eq("empty")].empty


def test_order_and_parts(folder: RunFolder) -> None:
    """Sorted, those without a value last and equals as they were; the first of them; parts put together."""
    frame, rows = folder.requests(), Attempts.of(folder)
    assert frame["ttft_ms"].isna().any()
    ordered = rows.sort_values("ttft_ms", kind="stable")
    expected = frame.sort_values("ttft_ms", kind="stable")
    assert ordered.index.tolist() == expected.index.tolist()
    assert ordered.head(3)["request_id"].tolist() == expected["request_id"].head(3).tolist()
    parts = [rows[rows["attempt"].eq(2)], rows.head(2)]
    together = pd.concat([frame[frame["attempt"].eq(2)], frame.head(2)])
    pd.testing.assert_frame_equal(Attempts.concat(parts).frame(), together, check_index_type=False)


def test_a_column_that_there_is_not_is_an_error(folder: RunFolder) -> None:
    """However the file is read; a column of nothing would be no data for whoever misspelt it."""
    with pytest.raises(KeyError, match="ttft_s"):
        Attempts.of(folder)["ttft_s"]


def test_only_what_is_asked_for_is_read(
    folder: RunFolder, asked: list[str], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large file, once, as long as the columns after it are no larger than what is kept; a small one at once."""
    rows = Attempts.of(folder)
    if way == "read whole":
        assert (rows["outcome"].notna().all(), asked) == (True, list(REQUEST_COLUMNS.names))
        return
    ok = rows[rows["outcome"].eq("ok")]
    assert ok["ttft_ms"].notna().all()
    assert (ok["outcome"].nunique(), rows["ttft_ms"].name) == (1, "ttft_ms")
    assert sorted(asked) == sorted([*WORDS, "ttft_ms"])
    monkeypatch.setattr(attempts, "BYTES_KEPT", 2 * rows["ttft_ms"].nbytes)
    for name in ("e2e_ms", "ttft_ms", "start_s", "ttft_ms", "e2e_ms"):
        assert len(rows[name]) == len(rows)
    assert (asked.count("ttft_ms"), asked.count("e2e_ms"), asked.count("outcome")) == (1, 2, 1)


def test_dear_columns_stay(folder: RunFolder, asked: list[str], way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids are read once and numbered once, whatever else is asked for in between; of others the last one is kept."""
    if way == "read whole":
        pytest.skip("a small file is read once")
    monkeypatch.setattr(attempts, "BYTES_KEPT", 0)
    rows = Attempts.of(folder)
    for _ in range(2):
        for name in ("request_id", "request", "end_s", "ttft_ms", "headers_ms"):
            assert len(rows[name]) == len(rows)
    counts = {name: asked.count(name) for name in ("request_id", "start_s", "ttft_ms", "headers_ms")}
    assert counts == {"request_id": 1, "start_s": 1, "ttft_ms": 2, "headers_ms": 2}


@pytest.mark.parametrize(("large", "given"), [(True, 1), (False, 0)])
def test_a_large_run_gives_memory_back(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, large: bool, given: int
) -> None:
    """Between two questions, once its attempts were asked for; of a small one it would only take time."""
    calls: list[None] = []
    monkeypatch.setattr(attempts, "ROWS_AT_ONCE", 0)
    monkeypatch.setattr(view, "ROWS_AT_ONCE", 0 if large else 10_000)
    run = RunView(folder)
    monkeypatch.setattr(memory, "give_back", lambda: calls.append(None))
    run.give_back()
    assert calls == []
    assert len(run.requests) > 0
    calls.clear()
    run.give_back()
    assert len(calls) == given


def test_words_can_be_compared_and_fill_in_each_other(folder: RunFolder) -> None:
    """Of whatever columns; none is the empty word; a word that no row has is equal to none."""
    frame, rows = folder.requests(), Attempts.of(folder)
    assert {name for name in WORDS if pa.types.is_string(REQUEST_COLUMNS.field(name).type)} == WORDS
    assert len({str(rows[name].dtype) for name in WORDS}) == 1
    for one, other in (("replica", "gateway_replica"), ("straddles", "phase")):
        wanted = frame[one].where(frame[one].notna(), frame[other]).fillna("").tolist()
        assert rows[one].where(rows[one].notna(), rows[other]).fillna("").tolist() == wanted
        assert rows[one].ne(rows[other]).tolist() == frame[one].ne(frame[other]).tolist()
    assert not rows["outcome"].eq("no such outcome").any()


def test_tally_counts_the_words_that_are_there(folder: RunFolder) -> None:
    """The others of the category have no row, and are no result."""
    frame, rows = folder.requests(), Attempts.of(folder)
    assert attempts.tally(rows["outcome"]).to_dict() == frame["outcome"].value_counts().to_dict()
    well = rows["outcome"].eq("ok")
    assert attempts.tally(rows["outcome"][well]).to_dict() == {"ok": well.sum()}


def test_requests_have_numbers(tmp_path: Path) -> None:
    """The same for all attempts of one, −1 where an id is missing."""
    run = runs.healthy()
    run.requests.loc[0, "request_id"] = None
    rows = RunView(run.write(tmp_path / "run")).requests
    numbers, ids = rows["request"], rows["request_id"]
    assert numbers[0] == -1
    assert numbers[1:].groupby(ids[1:]).nunique().eq(1).all()
    assert numbers.nunique() == ids.nunique(dropna=False)


def test_who_changes_a_column_changes_no_other(folder: RunFolder) -> None:
    """What is kept stays as it was read."""
    rows = Attempts.of(folder)
    mine = rows["e2e_ms"]
    mine[:] = 0.0
    assert rows["e2e_ms"].gt(0).all()


def test_a_column_of_a_later_version_is_not_measured(tmp_path: Path) -> None:
    """As many nulls as there are attempts; no file at all is no attempt."""
    folder = runs.healthy_run(tmp_path / "run")
    path = folder.path / "requests.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["answer_correct"]), path, write_page_checksum=True)
    rows = Attempts.of(folder)
    assert rows["answer_correct"].isna().sum() == len(rows) > 100
    path.unlink()
    assert Attempts.of(folder)["answer_correct"].empty


def test_a_view_without_some_requests_has_phases_of_its_own(folder: RunFolder) -> None:
    """What is remembered of a view is not that of its copies."""
    view = RunView(folder)
    before = view.attempts("baseline")
    left = view.without(before["request_id"].head(10).tolist())
    assert len(left.attempts("baseline")) == len(before) - 10
    assert len(view.attempts("baseline")) == len(before)
    assert len(left.final) == len(view.final) - 10
    assert len(view.attempts("no such phase")) == 0
    assert np.isin(left.requests.index, view.requests.index).all()


def test_the_attempts_of_retried_requests(folder: RunFolder) -> None:
    """All attempts of a request that has a second one, and no others; an id that is missing belongs to none."""
    frame, rows = folder.requests(), Attempts.of(folder)
    again = frame["request_id"][frame["attempt"].gt(1)]
    assert 0 < len(again) < len(frame)
    assert rows[attempts.of_retried(rows)].index.tolist() == frame.index[frame["request_id"].isin(again)].tolist()
    frame["request_id"] = frame["request_id"].mask(frame["attempt"].gt(1))
    assert not attempts.of_retried(frame).any()
    assert not attempts.of_retried(frame.head(0)).any()


def test_an_attempt_ends_when_it_had_taken_what_it_took(folder: RunFolder) -> None:
    """For all rows and for some; in a frame of several columns, too."""
    rows = Attempts.of(folder)
    frame = folder.requests()
    wanted = (frame["start_s"] + frame["e2e_ms"] / 1000).to_numpy()
    np.testing.assert_array_equal(rows["end_s"].to_numpy(), wanted)
    kept = frame["outcome"].eq("ok").to_numpy()
    np.testing.assert_array_equal(rows[kept][["user_id", "end_s"]]["end_s"].to_numpy(), wanted[kept])


def test_what_has_no_measured_end_ended_as_it_began(tmp_path: Path) -> None:
    """Without a duration at its start, without a start when it was meant to start; null only without any time."""
    run = runs.healthy()
    run.requests.loc[0, "e2e_ms"] = None
    run.requests.loc[1, ["e2e_ms", "start_s"]] = None
    run.requests.loc[2, ["e2e_ms", "start_s", "intended_start_s"]] = None
    rows, ends = run.requests, RunView(run.write(tmp_path / "run")).requests["end_s"]
    assert ends[0] == rows["start_s"][0]
    assert ends[1] == rows["intended_start_s"][1]
    assert np.isnan(ends[2])
    assert ends[3] == rows["start_s"][3] + rows["e2e_ms"][3] / 1000


def test_the_end_is_in_no_file(folder: RunFolder) -> None:
    """It could disagree there with what it follows from, and older runs would have other digests."""
    assert "end_s" not in REQUEST_COLUMNS.names
    assert "end_s" not in pq.read_schema(folder.path / "requests.parquet").names
