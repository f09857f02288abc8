"""A tokenizer -> the bytes each of its tokens stands for, as a grammar reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from deployments.engines.tokenizers import SPACE_MARK, added_tokens, decoder_steps, special_tokens
from graphs.errors import InvalidInput

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What llguidance asks of a tokenizer that isn't one of its own: the names are its."""

    tokens: list[bytes]
    special_token_ids: list[int]
    eos_token_id: int
    places: Mapping[bytes, int]
    """The ids of the tokens that stand for something."""
    encode: Callable[[str], list[int]]
    """The tokenizer's own way to cut a text."""
    bos_token_id: int | None = None
    is_tokenizer_wrapper: bool = True

    def __call__(self, text: str) -> list[int]:
        """Cut text that must come into tokens: as the model would, unless its tokens then say something else.

        SentencePiece puts a space before every text it cuts, and this one has something before it already.
        """
        try:
            ids = self.encode(text)
        except RuntimeError:  # the tokenizers library, while another thread uses the same tokenizer
            ids = []
        wanted = text.encode()
        return ids if b"".join(self.tokens[id] for id in ids) == wanted else self._longest(wanted)

    def _longest(self, text: bytes) -> list[int]:
        """Cut text into the longest tokens there are, one after the other; it ends where there is none."""
        most = max(map(len, self.places))
        ids: list[int] = []
        while text:
            size = next((size for size in range(min(most, len(text)), 0, -1) if text[:size] in self.places), 0)
            if not size:
                break
            ids.append(self.places[text[:size]])
            text = text[size:]
        return ids


def read_vocabulary(tokenizer: Any, eos_ids: Iterable[int]) -> Vocabulary:
    """Read what every token, by its id, adds to the text. Fast and slow tokenizers alike; ids without a token are empty."""
    ends = sorted(set(eos_ids))
    if not ends:
        raise InvalidInput("the model has no end token, so that its answer can't be held to a schema")
    added: Mapping[int, Any] = added_tokens(tokenizer)
    special = {*special_tokens(tokenizer), *ends}
    to_bytes = spelling(tokenizer)
    if to_bytes is None:
        kind = ", ".join(sorted(decoder_steps(tokenizer))) or "none"
        raise InvalidInput(
            f"the tokenizer of '{tokenizer.name_or_path}' joins its tokens in a way (decoder: {kind}) that can't be held"
            " to a schema; leave response_format and a required tool_choice out"
        )
    names: dict[str, int] = tokenizer.get_vocab()
    tokens = [b""] * (1 + max(*names.values(), *special))
    for name, id in names.items():
        # An added token's name is its text; the others are spelled as the model's vocabulary spells.
        tokens[id] = name.encode(errors="ignore") if id in added or id in special else to_bytes(name)
    places = {token: id for id, token in enumerate(tokens) if token and id not in special}
    return Vocabulary(tokens, sorted(special), ends[0], places, partial(tokenizer.encode, add_special_tokens=False))


def spelling(tokenizer: Any) -> Callable[[str], bytes] | None:
    """Return the function from a token's name to its bytes; None where these depend on the tokens before it."""
    kinds = decoder_steps(tokenizer)
    if "ByteLevel" in kinds:
        alphabet = _byte_alphabet()
        return lambda name: bytes(alphabet[letter] for letter in name if letter in alphabet)
    if kinds & {"ByteFallback", "Metaspace"}:
        return _sentence_piece
    return None


def _sentence_piece(name: str) -> bytes:
    byte = _BYTE.fullmatch(name)
    return bytes.fromhex(byte[1]) if byte else name.replace(SPACE_MARK, " ").encode(errors="ignore")


def _byte_alphabet() -> dict[str, int]:
    """Return GPT-2's letters for the 256 bytes: those that can be printed are themselves, the rest follow from U+0100."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printable)
    return {chr(byte): byte for byte in printable} | {chr(0x100 + place): byte for place, byte in enumerate(others)}
