"""Queue, batch and step loop: each step gives every running sequence one token, as continuous batching does."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator

from stack.simulator.behaviour import Behaviour
from stack.simulator.blocks import Blocks, PrefixCache
from stack.simulator.metrics import Metrics
from stack.simulator.options import Options
from stack.simulator.sequence import Sequence

_WARMUP_SLOWNESS = 20.0
# A step that comes later than this is not caught up: the machine was busy, and a burst would be no engine's behaviour.
_LATE_S_MAX = 0.1


class Engine:
    """The simulated engine core. All methods are called from the event loop's thread."""

    def __init__(self, options: Options, metrics: Metrics) -> None:
        self._options = options
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self.blocks = Blocks(options.kv_blocks, options.block_size)
        self._prefixes = PrefixCache(self.blocks.usable, options.block_size)
        self._waiting: deque[Sequence] = deque()
        self._running: list[Sequence] = []
        self._left: list[Sequence] = []  # readers that went away, to be dropped at the next step
        self._work = asyncio.Event()
        self._warm_at_s = 0.0
        self._draining = False
        self._drained = asyncio.Event()
        self.behaviour = Behaviour()
        self.behave(options.behaviour)

    @property
    def unfinished(self) -> int:
        """Requests that wait or run and whose reader is there: what the admission limit counts."""
        return sum(not s.reader_gone for s in (*self._waiting, *self._running))

    @property
    def idle(self) -> bool:
        """No block is held by anybody: only then a prefix cache can be reset."""
        return self.blocks.held == 0 and self.blocks.leaked == 0

    def behave(self, behaviour: Behaviour) -> None:
        """Switch to that behaviour from the next step on."""
        if behaviour.slow_warmup_s != self.behaviour.slow_warmup_s:
            self._warm_at_s = self._loop.time() + behaviour.slow_warmup_s
        if not behaviour.leak_kv_on_cancel:
            self.blocks.mend()
        self.behaviour = behaviour
        self._work.set()

    def reset_prefix_cache(self) -> bool:
        """Forget every prompt; False, and nothing forgotten, while any block is held."""
        if self.idle:
            self._prefixes.reset()
        return self.idle

    def submit(
        self, answer: Iterator[str], prompt_tokens: int, max_tokens: int, prefixes: tuple[int, ...] = ()
    ) -> Sequence:
        """Queue a request; its tokens come through ``Sequence.next``. ``prefixes``: ``blocks.chain`` of its prompt."""
        sequence = Sequence(answer, prompt_tokens, max_tokens, self._loop.time(), prefixes=prefixes)
        if self._draining:
            sequence.finish("abort")
        else:
            self._waiting.append(sequence)
            self._work.set()
        return sequence

    def release(self, sequence: Sequence) -> None:
        """The reader is done with it: a sequence that still generates is cancelled."""
        if sequence.finish_reason is not None:
            return
        sequence.reader_gone = True
        if not self.behaviour.zombie_generation:
            self._left.append(sequence)
            self._work.set()

    async def drain(self) -> None:
        """Wait until nothing is in flight. What comes from now on is turned away as vLLM does while it shuts down:
        200, then finish_reason abort."""
        self._draining = True
        self._publish()
        await self._drained.wait()

    def end(self) -> None:
        """End every request the way ``on_sigterm`` says, inside answers that began with 200."""
        if self.behaviour.on_sigterm == "hang":
            self.behave(self.behaviour.changed({"hang": True}))
            return
        for sequence in (*self._waiting, *self._running):
            sequence.finish(self.behaviour.on_sigterm)
            self.blocks.give_back(sequence.blocks)
            sequence.blocks = 0
        self._waiting.clear()
        self._running.clear()
        self._publish()

    async def run(self) -> None:
        """Step for ever; sleeps while there is nothing to do."""
        due_s = self._loop.time()
        while True:
            if self.behaviour.hang or not (self._waiting or self._running or self._left):
                self._work.clear()
                if not self.behaviour.hang:
                    self._publish()
                await self._work.wait()
                due_s = self._loop.time()
                continue
            self._step()
            due_s += self._slowness() / self._options.tokens_per_second
            due_s = max(due_s, self._loop.time() - _LATE_S_MAX)
            await asyncio.sleep(due_s - self._loop.time())

    def _step(self) -> None:
        now_s = self._loop.time()
        self._drop_left()
        for sequence in self._running.copy():
            # an earlier one of this step may have preempted it
            if sequence.blocks and sequence.prefilled_at_s <= now_s and self._grow(sequence):
                self._advance(sequence, now_s)
        self._running = [s for s in self._running if s.finish_reason is None]
        self._admit(now_s)
        self._publish()

    def _drop_left(self) -> None:
        for sequence in self._left:
            if sequence in self._running:
                self._running.remove(sequence)
            elif sequence in self._waiting:
                self._waiting.remove(sequence)
            if self.behaviour.leak_kv_on_cancel:
                self.blocks.leak(sequence.blocks)
            else:
                self.blocks.give_back(sequence.blocks)
            sequence.blocks = 0
        self._left.clear()

    def _grow(self, sequence: Sequence) -> bool:
        """Room for one more token, by preempting the youngest if need be. False when ``sequence`` itself had to go."""
        missing = self.blocks.needed(sequence.tokens + 1) - sequence.blocks
        while not self.blocks.take(missing):
            victim = self._running.pop()
            self._preempt(victim)
            if victim is sequence:
                return False
        sequence.blocks += missing
        return True

    def _preempt(self, victim: Sequence) -> None:
        self.blocks.give_back(victim.blocks)
        victim.blocks = 0
        victim.preemptions += 1
        self._waiting.appendleft(victim)
        self._metrics.preempted()

    def _advance(self, sequence: Sequence, now_s: float) -> None:
        """One token, and the end when it was the last."""
        text = next(sequence.answer, None)
        sequence.push(text or "")
        self._metrics.token(sequence, now_s)
        if text is None:
            self._finish(sequence, "stop", now_s)
        elif sequence.generated >= sequence.max_tokens:
            self._finish(sequence, "length", now_s)

    def _finish(self, sequence: Sequence, reason: str, now_s: float) -> None:
        sequence.finish(reason)
        self.blocks.give_back(sequence.blocks)
        sequence.blocks = 0
        self._metrics.finished(sequence, now_s)

    def _admit(self, now_s: float) -> None:
        """First come, first served: a head that does not fit blocks all behind it, as in vLLM."""
        while self._waiting and len(self._running) < self._options.max_num_seqs:
            head = self._waiting[0]
            number = self.blocks.needed(head.tokens + 1)
            if not self.blocks.take(number):
                return
            self._waiting.popleft()
            head.blocks = number
            head.prefilled_at_s = now_s + self._options.ttft_ms / 1000 * self._slowness()
            hits = self._prefixes.look_up(head.prefixes, head.prompt_tokens)
            if head.scheduled_s is None:  # what was preempted is not counted a second time
                head.scheduled_s = now_s
                self._metrics.looked_up(head.prompt_tokens, hits)
            self._running.append(head)

    def _slowness(self) -> float:
        cold = _WARMUP_SLOWNESS if self._loop.time() < self._warm_at_s else 1.0
        return self.behaviour.slow_factor * cold

    def _publish(self) -> None:
        self._metrics.scheduled(len(self._running), len(self._waiting), self.blocks.usage)
        if self._draining and not self.unfinished:
            self._drained.set()
