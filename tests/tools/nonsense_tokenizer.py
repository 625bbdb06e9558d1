"""A byte-level BPE tokenizer of pronounceable nonsense: every text encodes, and every word is reachable by merges."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

CONSONANTS = "bdflmnrstv"
VOWELS = "aeiou"
SPACE = "Ġ"  # how byte-level BPE writes the space before a word
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
END_OF_TEXT, _, END_OF_TURN = SPECIAL_TOKENS

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_symbols() -> list[str]:
    """Return the 256 printable symbols that byte-level BPE writes for the bytes 0 to 255."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    stand_ins = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(stand_ins)) for byte in range(256)]


@dataclass(frozen=True)
class NonsenseTokenizer:
    """Tokens in order of their ids, merges in order of their rank, and the ids that a model may speak."""

    tokens: list[str]
    merges: list[tuple[str, str]]
    speakable: list[int]
    punctuation: list[int]

    @classmethod
    def build(cls, words: int, seed: int) -> NonsenseTokenizer:
        """Return a tokenizer with the 256 bytes, the syllables, ``words`` invented words and the special tokens."""
        syllables = [consonant + vowel for consonant in CONSONANTS for vowel in VOWELS]
        merges = [(syllable[0], syllable[1]) for syllable in syllables]
        merges += [(SPACE, syllable) for syllable in syllables]
        tokens = byte_symbols() + [left + right for left, right in merges]
        first_word = len(tokens)
        for stem, syllable in _word_pieces(syllables, words, random.Random(seed)):
            merges.append((stem, syllable))
            tokens.append(stem + syllable)
        speakable = list(range(first_word, len(tokens)))
        punctuation = [ord(","), ord(".")]
        return cls([*tokens, *SPECIAL_TOKENS], merges, speakable, punctuation)

    def token_id(self, token: str) -> int:
        """Return the id of a token."""
        return self.tokens.index(token)

    def as_tokenizer_json(self) -> dict[str, Any]:
        """Return the content of a ``tokenizer.json``."""
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        added = [
            {
                "id": self.token_id(token),
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token in SPECIAL_TOKENS
        ]
        return {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": None,
            "pre_tokenizer": byte_level,
            "post_processor": None,
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "vocab": {token: index for index, token in enumerate(self.tokens)},
                "merges": [" ".join(pair) for pair in self.merges],
            },
        }

    def as_tokenizer_config(self) -> dict[str, Any]:
        """Return the content of a ``tokenizer_config.json``."""
        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TURN,
            "pad_token": END_OF_TEXT,
            "chat_template": CHAT_TEMPLATE,
        }


def _word_pieces(syllables: list[str], count: int, rng: random.Random) -> list[tuple[str, str]]:
    """Return ``count`` merges that make words: two syllables first, then three on top of those."""
    pairs = [(SPACE + first, second) for first in syllables for second in syllables]
    rng.shuffle(pairs)
    chosen = pairs[: -(-count // 2)]
    stems = [stem + syllable for stem, syllable in chosen]
    seen = set(chosen)
    while len(chosen) < count:
        piece = (rng.choice(stems), rng.choice(syllables))
        if piece not in seen:
            seen.add(piece)
            chosen.append(piece)
    return chosen
