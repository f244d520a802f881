"""The trained models, asked everything through real vLLM."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from stack import models
from tests.contract.engine.running import RunningEngine, finish_reasons, running, texts

pytestmark = [pytest.mark.realstack, pytest.mark.timeout(600)]

#: What the eval set is for: good models pass it, the bad one does not, with room between.
GOOD_SHARE_MIN, BAD_SHARE_MAX = 0.95, 0.5
LONG_TOKENS = 1000


@dataclass(frozen=True)
class Examination:
    """What one model answered, in the order of the eval set."""

    version: str
    answers: tuple[str, ...]
    served_as: frozenset[str]
    seconds_per_token: float

    @property
    def share_right(self) -> float:
        """Share of answers that are right to the letter."""
        expected = [q.answer for q in models.questions()]
        return sum(a == b for a, b in zip(self.answers, expected, strict=True)) / len(expected)


def examine(engine: RunningEngine) -> Examination:
    """Ask all questions, one at a time."""
    answers, names, tokens = [], set(), 0
    engine.post(engine.chat("Hello", max_tokens=8))  # the first request of an engine pays for its warm-up
    began = time.monotonic()
    for q in models.questions():
        answer = engine.post(engine.chat(q.question, max_tokens=128)).raise_for_status().json()
        answers.append(answer["choices"][0]["message"]["content"])
        names.add(answer["model"])
        tokens += answer["usage"]["completion_tokens"]
    return Examination(engine.version, tuple(answers), frozenset(names), (time.monotonic() - began) / tokens)


@pytest.fixture(scope="module")
def v2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    """v2, kept for all tests of this file."""
    with running("vllm", tmp_path_factory.mktemp("v2") / "log", replica="replica-2", model="v2") as engine:
        yield engine


@pytest.fixture(scope="module")
def examined_v2(v2: RunningEngine) -> Examination:
    """The result of v2."""
    return examine(v2)


def test_v2_answers(examined_v2: Examination) -> None:
    """A canary check that asks v2 has something to find."""
    print(f"{examined_v2.version}: {examined_v2.share_right:.1%}, {1 / examined_v2.seconds_per_token:.0f} tokens/s")
    assert examined_v2.share_right >= GOOD_SHARE_MIN
    assert examined_v2.served_as == {examined_v2.version}


def test_v1_answers_and_long_streams_last(v2: RunningEngine, tmp_path: Path) -> None:
    """v1 is as good; with both replicas busy 1,000 tokens come as visible text from the first to the last."""
    with running("vllm", tmp_path / "log", model="v1") as v1:
        result = examine(v1)
        print(f"{result.version}: {result.share_right:.1%}, {1 / result.seconds_per_token:.0f} tokens/s")
        assert result.share_right >= GOOD_SHARE_MIN
        with ThreadPoolExecutor(2) as pool:
            streams = list(pool.map(long_stream, (v1, v2)))
    print(f"{LONG_TOKENS} tokens with both replicas busy: {', '.join(f'{s:.1f} s' for s, _ in streams)}")
    assert all(share > 0.8 for _, share in streams)


def long_stream(engine: RunningEngine) -> tuple[float, float]:
    """Seconds of one stream of ``LONG_TOKENS``, and the share of its tokens that a user sees as text."""
    began = time.monotonic()
    body = engine.long_chat(stream_options={"include_usage": True})
    events = [event for event in engine.events(body) if isinstance(event, dict)]
    assert finish_reasons(events) == ["length"]
    assert events[-1]["usage"]["completion_tokens"] == LONG_TOKENS
    return time.monotonic() - began, sum(bool(texts([event])) for event in events) / LONG_TOKENS


def test_bad_answers_wrongly(tmp_path: Path) -> None:
    """A canary check must have a chance to notice: less than half is right."""
    with running("vllm", tmp_path / "log", model="bad") as engine:
        result = examine(engine)
    print(f"{result.version}: {result.share_right:.1%}")
    assert result.share_right < BAD_SHARE_MAX


def test_slow_answers_as_v2_but_later(examined_v2: Examination, tmp_path: Path) -> None:
    """Only latency tells slow from v2."""
    with running("vllm", tmp_path / "log", model="slow") as engine:
        result = examine(engine)
    print(f"{result.version}: {result.share_right:.1%}, {1 / result.seconds_per_token:.0f} tokens/s")
    differing = [pair for pair in zip(result.answers, examined_v2.answers, strict=True) if pair[0] != pair[1]]
    assert differing == []
    assert result.seconds_per_token > 1.5 * examined_v2.seconds_per_token


def test_versions_differ() -> None:
    """Each model has weights of its own, and so an answer says which it came from."""
    versions = [models.version(name) for name in models.TRAINED]
    hashes = [version.split("@")[1] for version in versions]
    assert all(a != b for a, b in itertools.combinations(hashes, 2))
