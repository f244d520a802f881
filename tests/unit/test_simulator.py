"""The simulator's insides: tokens, answers, and the engine's queue, batch and blocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice, repeat

from hypothesis import given
from hypothesis import strategies as st

from stack.models import questions
from stack.simulator.answers import Answers
from stack.simulator.blocks import PrefixCache, chain
from stack.simulator.engine import Engine
from stack.simulator.metrics import Metrics
from stack.simulator.options import Options
from stack.simulator.sequence import Sequence
from stack.simulator.tokens import tokenize


@given(st.text())
def test_tokens_join_to_the_text(text: str) -> None:
    """Nothing is lost between tokens."""
    assert "".join(tokenize(text)) == text


def test_answers_depend_on_seed_and_prompt_alone() -> None:
    """The same twice; another seed or prompt, another text."""

    def told(seed: int, prompt: str) -> list[str]:
        return list(islice(Answers(seed).to(prompt, endless=False, wrong=False), 20))

    assert told(1, "a") == told(1, "a")
    assert len({tuple(told(seed, prompt)) for seed in (1, 2) for prompt in ("a", "b")}) == 4


def test_known_question_wants_its_answer_unless_told_otherwise() -> None:
    """Right, wrong, and right with more behind it."""
    item, answers = questions()[0], Answers(0)
    assert "".join(answers.to(item.question, endless=False, wrong=False)) == item.answer
    assert "".join(answers.to(item.question, endless=False, wrong=True)) != item.answer
    longer = "".join(islice(answers.to(item.question, endless=True, wrong=False), 50))
    assert longer.startswith(item.answer)
    assert len(longer) > len(item.answer)


@asynccontextmanager
async def stepping(**options: object) -> AsyncIterator[Engine]:
    """An engine that runs as fast as it can."""
    settings = Options(tokens_per_second=100_000, ttft_ms=0, block_size=4, **options)  # type: ignore[arg-type]
    engine = Engine(settings, Metrics(settings))
    task = asyncio.create_task(engine.run())
    try:
        yield engine
    finally:
        task.cancel()


async def finished(sequence: Sequence) -> str:
    """Its finish reason, within bounds."""
    async with asyncio.timeout(5):
        while sequence.finish_reason is None:
            await sequence.next()
    return sequence.finish_reason


def test_kv_pressure_preempts_and_all_still_finish() -> None:
    """More sequences than blocks: the youngest lose theirs, come back later, and every block is free in the end."""

    async def scenario() -> None:
        async with stepping(kv_blocks=9) as engine:
            crowd = [engine.submit(repeat("x"), 4, 16) for _ in range(4)]
            assert [await finished(sequence) for sequence in crowd] == ["length"] * 4
            assert [sequence.generated for sequence in crowd] == [16] * 4
            assert sum(sequence.preemptions for sequence in crowd) > 0
            assert crowd[0].preemptions == 0
            assert engine.idle

    asyncio.run(scenario())


def test_request_larger_than_the_cache_blocks_the_queue() -> None:
    """vLLM's #39734: a head that never fits is waited for, by everybody."""

    async def scenario() -> None:
        async with stepping(kv_blocks=5) as engine:
            giant = engine.submit(repeat("x"), 100, 4)
            small = engine.submit(repeat("x"), 4, 4)
            done, _ = await asyncio.wait([asyncio.ensure_future(finished(small))], timeout=0.2)
            assert not done
            engine.release(giant)
            assert await finished(small) == "length"

    asyncio.run(scenario())


def test_prefix_cache_keeps_whole_blocks_and_the_latest() -> None:
    """Hits are full blocks from the start on, but never the last token's; the longest unused is forgotten first."""
    cache = PrefixCache(count=4, size_tokens=2)
    first, second = list("abcdef"), list("abcxyz")

    def hits(tokens: list[str]) -> int:
        return cache.look_up(chain(tokens, 2), len(tokens))

    assert hits(first) == 0
    assert hits(first) == 4  # the block of the last token is computed always
    assert hits(second) == 2  # the first block is the same, the second is not
    assert hits([*first, "g"]) == 2  # five blocks were too many: the oldest of the first prompt's is gone
    cache.reset()
    assert hits(first) == 0
    assert chain(list("a"), 2) == ()


def test_a_preempted_request_is_looked_up_once() -> None:
    """Its prompt counts when it is first scheduled, not when it comes back."""

    async def scenario() -> None:
        settings = Options(tokens_per_second=100_000, ttft_ms=0, block_size=4, kv_blocks=9)
        metrics = Metrics(settings)
        engine = Engine(settings, metrics)
        task = asyncio.create_task(engine.run())
        crowd = [engine.submit(repeat("x"), 4, 16) for _ in range(4)]
        for sequence in crowd:
            await finished(sequence)
        task.cancel()
        assert sum(sequence.preemptions for sequence in crowd) > 0
        page = metrics.page(["vllm:prefix_cache_queries_total"]).decode()
        assert page.splitlines()[-1].endswith(" 16.0")

    asyncio.run(scenario())


def test_batch_is_limited() -> None:
    """Only so many run at once; the others wait and are served in order."""

    async def scenario() -> None:
        async with stepping(max_num_seqs=2) as engine:
            crowd = [engine.submit(repeat("x"), 4, 8) for _ in range(6)]
            for sequence in crowd:
                await finished(sequence)
            ends = [sequence.last_token_s for sequence in crowd]
            assert ends == sorted(ends)
            assert ends[0] < ends[2] < ends[4]

    asyncio.run(scenario())


def test_end_reaches_running_and_waiting() -> None:
    """Everybody is told, every block is free, and what still comes is turned away."""

    async def scenario() -> None:
        async with stepping(max_num_seqs=1) as engine:
            crowd = [engine.submit(repeat("x"), 4, 10**6) for _ in range(3)]
            await crowd[0].next()
            draining = asyncio.create_task(engine.drain())
            await asyncio.sleep(0)
            assert not draining.done()
            engine.end()
            await draining
            assert [await finished(sequence) for sequence in crowd] == ["abort"] * 3
            assert engine.idle
            assert await finished(engine.submit(repeat("x"), 4, 4)) == "abort"

    asyncio.run(scenario())
