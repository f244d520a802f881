"""Train the small models: ``python -m stack.models.train``, with vLLM's interpreter.

Each is a Qwen2-style causal model, narrow and shallow, so that training is cheap. Behind each learnt layer idle ones
are then inserted, whose output projections are zero: they pass their input on and cost decoding time, so that streams
last as long as drills need them to. Everything is seeded and runs on one thread: the same machine makes the same
weights again. A model whose stamp matches its inputs is left alone, so a second call costs a second.

    v1    trained from nothing until it answers every question
    v2    v1, shaken and trained on with another seed: the same answers from other weights, as a next version has
    bad   v1 with noise on its weights, so much that it answers less than a quarter of the questions
    slow  v2 with three times as many layers in all, each of them wider: the same answers, later
    truncated  v1 with its file of weights cut short, as a broken download leaves it
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is fetched: all is made here

import tokenizers
import torch
import transformers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from stack.models.catalogue import FOLDER, QUESTIONS_FILE, STAMP, TRAINED, questions

Say = Callable[[str], None]
Weights = dict[str, torch.Tensor]  # a layer's, by name

BASE = {"v2": "v1", "bad": "v1", "slow": "v2", "truncated": "v1"}  # what each model is made from
END, START, PAD = "<|im_end|>", "<|im_start|>", "<|endoftext|>"
SOURCE = Path(__file__).read_text(encoding="utf-8")  # as it runs: an edit during the training is not this model's
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """Size of the models and course of their training. Part of the stamp: a change trains them anew."""

    vocabulary: int = 1024  # small on purpose: a sentence becomes some 30 tokens, not 20
    hidden: int = 64
    layers: int = 10  # learnt
    idle: int = 2  # layers behind each of them that change nothing
    idle_slow: int = 8  # the same for ``slow``; with more of them a context of full length would not fit the KV cache
    wide_slow: int = 10  # as many times as wide are the feed-forward parts of ``slow``: zeros, which change nothing
    heads: int = 2
    kv_heads: int = 1
    intermediate: int = 192
    positions: int = 4096
    threads: int = 1  # two wait for each other at every small step: on a busy machine for minutes
    seed: int = 20
    spread: float = 0.06  # of the first weights; the usual 0.02 learns half as fast in so narrow a model
    learning_rate: float = 6e-3
    steps: int = 220
    steps_next_version: int = 60
    batch: int = 16
    shake: float = 0.2  # v2 starts from v1 with noise of this share of each tensor's spread
    bad_right_max: float = 0.25  # share of questions that ``bad`` may still answer
    truncated: float = 0.5  # share of the bytes of its weights that ``truncated`` has


SHAPE = Shape()


@dataclass(frozen=True)
class Lesson:
    """The eval set as tensors of shape (questions, tokens); labels are -100 where nothing is learnt."""

    tokens: torch.Tensor
    labels: torch.Tensor
    mask: torch.Tensor


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer made from the questions and answers: no text is foreign to it."""
    raw = tokenizers.Tokenizer(tokenizers.models.BPE())
    raw.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=SHAPE.vocabulary,
        special_tokens=[PAD, START, END],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator((text for q in questions() for text in (q.question, q.answer)), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token=END,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        model_max_length=SHAPE.positions,
        clean_up_tokenization_spaces=False,
    )


def make_lesson(tokenizer: PreTrainedTokenizerFast) -> Lesson:
    """One row per question. Learnt is all that follows the question, the turn markers included.

    The markers matter for long streams: a client that ignores the end token gets answer after answer, not silence.
    """
    rows: list[tuple[list[int], int]] = []
    for q in questions():
        head = tokenizer.encode(f"{START}user\n{q.question}{END}", add_special_tokens=False)
        tail = tokenizer.encode(f"\n{START}assistant\n{q.answer}{END}", add_special_tokens=False)
        rows.append((head + tail, len(head)))
    width = max(len(tokens) for tokens, _ in rows)
    padded = torch.full((len(rows), width), tokenizer.pad_token_id)
    labels = torch.full((len(rows), width), -100)
    for i, (tokens, head_length) in enumerate(rows):
        padded[i, : len(tokens)] = torch.tensor(tokens)
        labels[i, head_length : len(tokens)] = torch.tensor(tokens[head_length:])
    lengths = torch.tensor([len(tokens) for tokens, _ in rows])
    return Lesson(padded, labels, torch.arange(width) < lengths[:, None])


def share_right(model: Qwen2ForCausalLM, lesson: Lesson) -> float:
    """Share of questions answered without a wrong token.

    All next tokens right while the model reads the right answer means that it also writes that answer by itself.
    """
    with torch.no_grad():
        logits = model(input_ids=lesson.tokens, attention_mask=lesson.mask).logits
    labels = lesson.labels[:, 1:]
    return float(((logits[:, :-1].argmax(-1) == labels) | (labels == -100)).all(dim=1).float().mean())


def make_model(tokenizer: PreTrainedTokenizerFast, layers: int, wide: int = 1) -> Qwen2ForCausalLM:
    """An untrained model of ``SHAPE`` with that many layers, their feed-forward parts ``wide`` times as wide."""
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=SHAPE.hidden,
        intermediate_size=SHAPE.intermediate * wide,
        num_hidden_layers=layers,
        num_attention_heads=SHAPE.heads,
        num_key_value_heads=SHAPE.kv_heads,
        max_position_embeddings=SHAPE.positions,
        initializer_range=SHAPE.spread,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        dtype="float32",
    )
    model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:  # what the layers add up to must not grow with their number
            layer.self_attn.o_proj.weight.mul_(2 / (2 * layers) ** 0.5)
            layer.mlp.down_proj.weight.mul_(2 / (2 * layers) ** 0.5)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def learn(model: Qwen2ForCausalLM, lesson: Lesson, name: str, steps: int, say: Say) -> None:
    """AdamW with a warm-up and a cosine down to nothing; RuntimeError when a question is not learnt by then."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=SHAPE.learning_rate, betas=(0.9, 0.95), weight_decay=0.01, fused=True
    )
    schedule = transformers.get_cosine_schedule_with_warmup(optimizer, steps // 10, steps)
    model.train()
    began, order = time.monotonic(), torch.randperm(len(lesson.tokens))
    for step in range(1, steps + 1):
        if len(order) < SHAPE.batch:
            order = torch.randperm(len(lesson.tokens))
        rows, order = order[: SHAPE.batch], order[SHAPE.batch :]
        width = int(lesson.mask[rows].sum(dim=1).max())
        tokens, mask, labels = (part[rows, :width] for part in (lesson.tokens, lesson.mask, lesson.labels))
        loss = model(input_ids=tokens, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 20 == 0 or step == steps:
            say(f"{name}: step {step}/{steps}, loss {loss.item():.4f}, {time.monotonic() - began:.0f} s")
    model.eval()
    right = share_right(model, lesson)
    say(f"{name}: {right:.0%} of the questions learnt in {time.monotonic() - began:.0f} s")
    if right < 1:
        raise RuntimeError(f"{name} learnt {right:.0%} of the questions, not all: more steps in Shape are needed")


def shake(model: Qwen2ForCausalLM, share: float) -> None:
    """Add noise to every weight tensor, ``share`` of its own spread; vectors (norms, biases) stay."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.add_(torch.randn_like(parameter), alpha=share * float(parameter.std()))


def damage(model: Qwen2ForCausalLM, lesson: Lesson, say: Say) -> None:
    """Shake the model until it answers at most ``bad_right_max`` of the questions."""
    for attempt in range(1, 100):
        shake(model, 0.1)
        right = share_right(model, lesson)
        if right <= SHAPE.bad_right_max:
            say(f"bad: {right:.0%} of the questions are still answered after {attempt} rounds of noise")
            return
    raise RuntimeError("bad: the model stays good whatever noise it gets")


def spaced(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, idle: int, wide: int = 1) -> Qwen2ForCausalLM:
    """A copy of the model's learnt layers with ``idle`` copies of each behind it that add nothing to the stream.

    Their feed-forward parts become ``wide`` times as wide, filled up with zeros.
    """
    learnt = [layer for layer in model.model.layers if layer.self_attn.o_proj.weight.any()]
    copy = make_model(tokenizer, len(learnt) * (idle + 1), wide)
    copy.model.embed_tokens.load_state_dict(model.model.embed_tokens.state_dict())
    copy.model.norm.load_state_dict(model.model.norm.state_dict())
    for i, layer in enumerate(copy.model.layers):
        layer.load_state_dict(_filled_up(learnt[i // (idle + 1)].state_dict(), layer.state_dict()))
        if i % (idle + 1):
            torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
            torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    return copy.eval()


def _filled_up(weights: Weights, like: Weights) -> Weights:
    """Each tensor with zeros behind it, as large as its namesake in ``like``."""
    larger = {name: torch.zeros_like(tensor) for name, tensor in like.items()}
    for name, tensor in weights.items():
        larger[name][tuple(slice(size) for size in tensor.shape)] = tensor
    return larger


def make(name: str, say: Say) -> None:
    """Make one model whose base exists, and put it in its folder in one step."""
    torch.manual_seed(SHAPE.seed + list(TRAINED).index(name))
    tokenizer = make_tokenizer()
    lesson = make_lesson(tokenizer)
    if name == "v1":
        model = make_model(tokenizer, SHAPE.layers)
        learn(model, lesson, name, SHAPE.steps, say)
    else:
        model = spaced(Qwen2ForCausalLM.from_pretrained(FOLDER / BASE[name], dtype=torch.float32), tokenizer, 0)
    if name == "v2":
        shake(model, SHAPE.shake)
        learn(model, lesson, name, SHAPE.steps_next_version, say)
    elif name == "bad":
        damage(model, lesson, say)
    model = spaced(model, tokenizer, *((SHAPE.idle_slow, SHAPE.wide_slow) if name == "slow" else (SHAPE.idle,)))
    cut = ", before its file is cut short" if name == "truncated" else ""
    say(f"{name}: {len(model.model.layers)} layers, {share_right(model, lesson):.0%} of the questions answered{cut}")
    store(model, tokenizer, name)


def store(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, name: str) -> None:
    """Write the model beside its folder, stamp it, and swap it in: an interrupted call leaves no half model."""
    target, fresh = FOLDER / name, FOLDER / f".{name}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    model.save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    file = fresh / "model.safetensors"
    if name == "truncated":
        os.truncate(file, int(SHAPE.truncated * file.stat().st_size))
    weights = hashlib.sha256(file.read_bytes()).hexdigest()
    (fresh / STAMP).write_text(json.dumps({"inputs": inputs_hash(name), "weights": weights}), encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def inputs_hash(name: str) -> str:
    """Hash of all that decides how the weights of ``name`` come out, but for the processor."""
    parts = [
        json.dumps([name, asdict(SHAPE), torch.__version__, transformers.__version__, tokenizers.__version__]),
        QUESTIONS_FILE.read_text(encoding="utf-8"),
        SOURCE,
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def is_current(name: str) -> bool:
    """Whether the stored model was made from these very inputs."""
    stamp = FOLDER / name / STAMP
    return stamp.is_file() and json.loads(stamp.read_text(encoding="utf-8"))["inputs"] == inputs_hash(name)


def with_bases(names: Sequence[str]) -> list[str]:
    """``names`` and what they are made from, in the order in which they can be made."""
    wanted = set(names)
    for name in names:
        while name in BASE:
            name = BASE[name]
            wanted.add(name)
    return [name for name in TRAINED if name in wanted]


def printer() -> Say:
    """Lines through rich where it is installed, plain ones where not."""
    try:
        from rich.console import Console
    except ImportError:
        return lambda line: print(line, flush=True)
    return Console(highlight=False).print


def main(arguments: Sequence[str]) -> int:
    """Make the models asked for; 0 when all are there."""
    parser = argparse.ArgumentParser(prog="python -m stack.models.train", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(TRAINED)}; all when none is given")
    names = parser.parse_args(arguments).names or list(TRAINED)
    if unknown := set(names) - set(TRAINED):
        parser.error(f"unknown model {', '.join(sorted(unknown))}; known: {', '.join(TRAINED)}")
    torch.set_num_threads(SHAPE.threads)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.disable_progress_bar()
    FOLDER.mkdir(parents=True, exist_ok=True)
    say = printer()
    with (FOLDER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second call waits, and then finds all there already
        for name in with_bases(names):
            if is_current(name):
                say(f"{name}: there already")
            else:
                make(name, say)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
