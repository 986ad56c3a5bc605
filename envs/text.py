"""Instructions as word ids, without a vocabulary file: every word is hashed into a fixed number of buckets."""

from __future__ import annotations

import re
import zlib

import numpy as np

from envs.errors import UserError

MAX_WORDS = 16
BUCKETS = 4096
# A word: letters and digits in a row; in scripts that put no spaces between words (Chinese, Japanese, Thai), a sign.
SIGNS = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(f"[{SIGNS}]|[^\\W_{SIGNS}]+")


def word_ids(instruction: str, max_words: int = MAX_WORDS, buckets: int = BUCKETS) -> np.ndarray:
    """Ids of the words of an instruction: int32 [max_words], 0 where there is no word; longer texts are cut.

    Raises:
        UserError: the instruction has no word in it.
    """
    words = WORD.findall(instruction.lower())[:max_words]
    if not words:
        raise UserError(
            f"the instruction {instruction!r} has no words; say in a sentence what the robot should do"
        )
    ids = np.zeros(max_words, np.int32)
    ids[: len(words)] = [1 + zlib.crc32(word.encode()) % (buckets - 1) for word in words]
    return ids
