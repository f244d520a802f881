"""The eval set and the catalogue of models; what training makes of them is in tests/drills."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.model.errors import MissingTool
from stack import models
from stack.models import catalogue


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of `.tools/models`."""
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    return tmp_path


def test_questions_are_unambiguous() -> None:
    """No question twice, and no two that differ only in case or blanks: the model could not know which is meant."""
    plain = [" ".join(q.question.lower().split()) for q in models.questions()]
    assert len(plain) == len(set(plain)) == 64


def test_answers_vary_in_length_and_have_no_loose_blanks() -> None:
    """Streams must last: most answers are sentences, some one word; exact comparison needs clean ends."""
    answers = [q.answer for q in models.questions()]
    assert all(answer and answer == answer.strip() for answer in answers)
    assert sum(len(answer.split()) >= 15 for answer in answers) > len(answers) / 2
    assert any(len(answer.split()) == 1 for answer in answers)


@pytest.mark.parametrize("name", models.TRAINED)
def test_missing_model_names_the_command_that_makes_it(name: str, folder: Path) -> None:
    """Exit 64 with `make setup`, instead of an engine that fails minutes later."""
    with pytest.raises(MissingTool, match="make setup"):
        models.locate(name)


def test_half_written_model_counts_as_missing(folder: Path) -> None:
    """The stamp is written last: weights without it may be cut short."""
    (folder / "v1").mkdir()
    (folder / "v1" / "model.safetensors").write_bytes(b"half")
    with pytest.raises(MissingTool):
        models.locate("v1")


def test_version_changes_with_the_weights(folder: Path) -> None:
    """An answer says which weights served it, whatever the folder is called."""
    (folder / "v1").mkdir()
    stamp = folder / "v1" / catalogue.STAMP
    seen = set()
    for weights in ("3fa9c1d2aaaa", "77777777bbbb"):
        stamp.write_text(json.dumps({"inputs": "x", "weights": weights}))
        seen.add(models.version("v1"))
    assert seen == {"v1@3fa9c1d2", "v1@77777777"}


def test_foreign_names_come_back_as_they_are(tmp_path: Path) -> None:
    """Paths and hub ids are not ours to interpret; a folder's version follows its files."""
    assert models.locate("acme/chat-7b") == "acme/chat-7b"
    assert models.version("acme/chat-7b") == "chat-7b@hub"
    model = tmp_path / "chat"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"1")
    before = models.version(str(model))
    (model / "model.safetensors").write_bytes(b"22")
    assert before.startswith("chat@")
    assert models.version(str(model)) != before
