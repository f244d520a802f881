"""The first numbers of ``random.Random(text)`` for many texts at once.

Each request of a schedule has a generator of its own, made of its number's text, and making one takes ten times as
long as drawing from it. Here the Mersenne Twister (Matsumoto and Nishimura, 1998) is set up for thousands of texts in
step, as CPython's ``Random.seed`` and ``init_by_array`` do it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]
#: Of a generator's state, and how far apart the words lie of which a new one is made.
_SIZE, _APART = 624, 397
#: So many words come of the first state alone.
WORDS_MAX = _SIZE - _APART


def words(texts: Sequence[str], count: int) -> Words:
    """The first ``count`` 32-bit words of the generator of each text; shape (count, number of texts).

    The texts are ASCII and of one length, ``count`` is ``WORDS_MAX`` at most.
    """
    state = _state(_keys(texts))
    high, low = state[:count] & np.uint32(0x80000000), state[1 : count + 1] & np.uint32(0x7FFFFFFF)
    mixed = high | low
    half, odd = mixed >> np.uint32(1), mixed & np.uint32(1)
    found: Words = state[_APART : _APART + count] ^ half ^ (odd * np.uint32(0x9908B0DF))
    found ^= found >> 11
    found ^= (found << 7) & np.uint32(0x9D2C5680)
    found ^= (found << 15) & np.uint32(0xEFC60000)
    found ^= found >> 18
    return found


def _keys(texts: Sequence[str]) -> Words:
    """The integer that Python makes of each text, its lowest 32 bits first; shape (words, number of texts)."""
    joined = b"".join([part for one in map(str.encode, texts) for part in (one, hashlib.sha512(one).digest())])
    found = np.frombuffer(joined, np.uint8).reshape(len(texts), -1)[:, ::-1]
    whole = np.zeros((len(texts), -(-found.shape[1] // 4) * 4), np.uint8)
    whole[:, : found.shape[1]] = found
    return np.ascontiguousarray(whole.view("<u4").T).astype(np.uint32)


def _first_state() -> list[int]:
    """``init_genrand(19650218)``, from which every generator starts."""
    state = [19650218]
    for number in range(1, _SIZE):
        state.append((1812433253 * (state[-1] ^ (state[-1] >> 30)) + number) & 0xFFFFFFFF)
    return state


_FIRST = np.array(_first_state(), np.uint32)


def _state(keys: Words) -> Words:
    """``init_by_array``; shape (624, number of keys)."""
    length, many = keys.shape
    keys = keys + np.arange(length, dtype=np.uint32)[:, None]
    state = np.empty((_SIZE, many), np.uint32)
    mixed = np.empty(many, np.uint32)

    def mix(before: Words, word: Words | np.uint32, factor: int) -> None:
        """What makes a word of the state depend on the one before it, in ``mixed``."""
        np.right_shift(before, 30, out=mixed)
        np.bitwise_xor(mixed, before, out=mixed)
        np.multiply(mixed, np.uint32(factor), out=mixed)
        np.bitwise_xor(mixed, word, out=mixed)

    before = np.full(many, _FIRST[0])
    for step in range(_SIZE):
        number = step % (_SIZE - 1) + 1
        mix(before, _FIRST[number] if step < _SIZE - 1 else state[number], 1664525)
        before = np.add(mixed, keys[step % length], out=state[number])
    for step in range(1, _SIZE):
        number = step % (_SIZE - 1) + 1
        mix(before, state[number], 1566083941)
        before = np.subtract(mixed, np.uint32(number), out=state[number])
    state[0] = 0x80000000
    return state
