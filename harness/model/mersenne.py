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


def words(texts: Sequence[str], first: int, end: int) -> Words:
    """The 32-bit words ``first`` to ``end`` of the generator of each text, without ``end``; shape (words, texts).

    The texts are ASCII and of one length, ``end`` is ``WORDS_MAX`` at most.
    """
    # The second word of the state is the last that is made, and only the first two words come of it.
    state = _state(_keys(texts), _SIZE if first < 2 else _APART + end - 1)
    high, low = state[first:end] & np.uint32(0x80000000), state[first + 1 : end + 1] & np.uint32(0x7FFFFFFF)
    mixed = high | low
    half, odd = mixed >> np.uint32(1), mixed & np.uint32(1)
    found: Words = state[_APART + first : _APART + end] ^ half ^ (odd * np.uint32(0x9908B0DF))
    found ^= found >> 11
    found ^= (found << 7) & np.uint32(0x9D2C5680)
    found ^= (found << 15) & np.uint32(0xEFC60000)
    found ^= found >> 18
    return found


def _keys(texts: Sequence[str]) -> Words:
    """The integer that Python makes of each text, its lowest 32 bits first; shape (words, number of texts)."""
    joined = b"".join([one + hashlib.sha512(one).digest() for one in map(str.encode, texts)])
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


#: Each a row of one number: what is done to a whole row with it takes half as long as with a number.
_FIRST = np.array(_first_state(), np.uint32)[:, None]
_NUMBERS = np.arange(_SIZE, dtype=np.uint32)[:, None]
_SHIFT, _FACTOR, _FACTOR_2 = np.array([[30], [1664525], [1566083941]], np.uint32)


def _state(keys: Words, end: int) -> Words:
    """``init_by_array``, whose second round ends before step ``end``; shape (624, number of keys)."""
    length, many = keys.shape
    keys = keys + _NUMBERS[:length]
    state = np.empty((_SIZE, many), np.uint32)
    mixed = np.empty(many, np.uint32)

    def mix(before: Words, word: Words, factor: Words) -> None:
        """What makes a word of the state depend on the one before it, in ``mixed``."""
        np.right_shift(before, _SHIFT, mixed)
        np.bitwise_xor(mixed, before, mixed)
        np.multiply(mixed, factor, mixed)
        np.bitwise_xor(mixed, word, mixed)

    before = np.full(many, _FIRST[0])
    for step in range(_SIZE):
        number = step % (_SIZE - 1) + 1
        mix(before, _FIRST[number] if step < _SIZE - 1 else state[number], _FACTOR)
        before = np.add(mixed, keys[step % length], state[number])
    for step in range(1, end):
        number = step % (_SIZE - 1) + 1
        mix(before, state[number], _FACTOR_2)
        before = np.subtract(mixed, _NUMBERS[number], state[number])
    state[0] = 0x80000000
    return state
