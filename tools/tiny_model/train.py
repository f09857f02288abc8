"""The corpus in, the model's folder out: a byte-pair tokenizer and a small Llama, trained on one CPU thread.

    python -m tools.tiny_model.train --out configs/models/anabranch-tiny

The same arguments on the same machine and versions give the same model.
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tools.tiny_model.corpus import END, SPECIAL, START, STOP, Document, documents

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM

CONTEXT = 1024
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
IGNORED = -100
"""The label of what isn't learned, as cross_entropy knows it."""
FIRST, FIRST_WEIGHT = 8, 5.0
"""How many tokens of an answer count more, and how much: they decide what it is about, and the rest follows from them."""
COPIED_WEIGHT, COMMON = 4.0, 1 / 400
"""How much a word counts that is taken up again, and from which share of all tokens on a token is too common to count so:
a story's kite must stay a kite."""
SNAPSHOT = 500
"""Steps between two savings."""

log = logging.getLogger("train")


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the training with rows of one length; long rows cost more, and are needed for the far positions only."""

    share: float
    length: int
    rows: int


PHASES = (Phase(0.85, 256, 8), Phase(0.15, CONTEXT, 2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--documents", type=int, default=60_000)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--rate", type=float, default=3e-3, help="the highest learning rate")
    parser.add_argument("--vocabulary", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--init", type=Path, help="go on from this folder, with its tokenizer")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    train(**vars(arguments))


def train(out: Path, documents: int, steps: int, rate: float, vocabulary: int, seed: int, init: Path | None) -> None:
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(1)  # on a shared machine one is faster than two
    texts = list(corpus(documents, seed))
    tokenizer = read_tokenizer(init) if init else train_tokenizer(texts, vocabulary)
    rows = Rows.of(texts, tokenizer)
    held_out = Rows.of(list(corpus(500, seed + 1_000_000)), tokenizer)
    model = read_model(init) if init else new_model(tokenizer.get_vocab_size())
    log.info("%d tokens, %d parameters", len(rows.tokens), sum(p.numel() for p in model.parameters()))
    for step in descend(model, rows, steps, rate):
        if step % SNAPSHOT == 0 or step == steps:
            log.info("held-out loss %.4f", held_out_loss(model, held_out))
            save(model, tokenizer, out)


def corpus(count: int, seed: int) -> list[Document]:
    return list(documents(count, seed))


def train_tokenizer(texts: list[Document], size: int) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(("".join(piece.text for piece in text) for text in texts[:15_000]), trainer)
    return tokenizer


def read_tokenizer(folder: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def new_model(vocabulary: int) -> LlamaForCausalLM:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary, hidden_size=192, intermediate_size=512, num_hidden_layers=4, num_attention_heads=6,
            num_key_value_heads=3, max_position_embeddings=CONTEXT, tie_word_embeddings=True, bos_token_id=0, eos_token_id=[0, 2],
            pad_token_id=0,
        )
    )  # fmt: skip


def read_model(folder: Path) -> LlamaForCausalLM:
    import torch
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)


@dataclass(frozen=True, slots=True)
class Rows:
    """All documents one after the other, and where each begins."""

    tokens: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    starts: torch.Tensor

    @classmethod
    def of(cls, texts: list[Document], tokenizer: Tokenizer) -> Rows:
        import torch

        pieces = [piece for text in texts for piece in text]
        encoded = tokenizer.encode_batch([piece.text for piece in pieces])
        tokens, labels, weights, starts = list[int](), list[int](), list[float](), list[int]()
        every = Counter(id for encoding in encoded for id in encoding.ids)
        rare = {id for id, count in every.items() if count < COMMON * every.total()}
        following = iter(zip(pieces, encoded, strict=True))
        for text in texts:
            starts.append(len(tokens))
            seen = set[int]()
            for _ in text:
                piece, encoding = next(following)
                tokens += encoding.ids
                labels += encoding.ids if piece.learned else [IGNORED] * len(encoding.ids)
                for at, id in enumerate(encoding.ids):
                    weights.append(FIRST_WEIGHT if at < FIRST else COPIED_WEIGHT if id in seen and id in rare else 1.0)
                    seen.add(id)
        return cls(torch.tensor(tokens), torch.tensor(labels), torch.tensor(weights), torch.tensor(starts))

    def batch(self, rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return rows that begin where a document does, as every conversation will; others follow on it."""
        import torch

        fitting = self.starts[self.starts < len(self.tokens) - length - 1]
        places = fitting[torch.randint(0, len(fitting), (rows,))].tolist()
        inputs = torch.stack([self.tokens[at : at + length] for at in places])
        labels = torch.stack([self.labels[at + 1 : at + length + 1] for at in places])
        weights = torch.stack([self.weights[at + 1 : at + length + 1] for at in places])
        return inputs, labels, weights


def loss_of(model: LlamaForCausalLM, inputs: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    import torch

    hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state
    learned = labels != IGNORED
    logits = model.lm_head(hidden[learned])  # the vocabulary is most of the work; only where it counts
    losses = torch.nn.functional.cross_entropy(logits, labels[learned], reduction="none")
    return (losses * weights[learned]).sum() / weights[learned].sum()


def descend(model: LlamaForCausalLM, rows: Rows, steps: int, rate: float) -> Iterator[int]:
    """Train with AdamW, a short warm-up, then half a cosine down to a fiftieth; yield the number of each step taken."""
    import torch

    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=rate,
        betas=(0.9, 0.97),
    )
    began, shown = time.process_time(), 0.0
    for step in range(steps):
        phase = phase_at(step / steps)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 60) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        loss = loss_of(model, *rows.batch(phase.rows, phase.length))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        shown = loss.item() if step == 0 else 0.95 * shown + 0.05 * loss.item()
        if step % 100 == 0:
            log.info("step %d of %d, loss %.3f, %.0f CPU seconds", step, steps, shown, time.process_time() - began)
        yield step + 1


def phase_at(progress: float) -> Phase:
    for phase in PHASES:
        if progress < phase.share:
            return phase
        progress -= phase.share
    return PHASES[-1]


def held_out_loss(model: LlamaForCausalLM, rows: Rows) -> float:
    import torch

    with torch.inference_mode():
        return sum(loss_of(model, *rows.batch(8, CONTEXT)).item() for _ in range(6)) / 6


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, out: Path) -> None:
    import torch
    from transformers import GenerationConfig, PreTrainedTokenizerFast

    model.generation_config = GenerationConfig(
        bos_token_id=0,
        eos_token_id=[0, 2],
        pad_token_id=0,
        do_sample=True,
        temperature=0.6,
        top_p=0.9,
        max_new_tokens=320,
    )
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(out)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=STOP, pad_token=END, model_max_length=CONTEXT,
        additional_special_tokens=[START], clean_up_tokenization_spaces=False,
    )  # fmt: skip
    fast.chat_template = TEMPLATE
    fast.save_pretrained(out)
    log.info("saved %s, %d bytes", out, sum(path.stat().st_size for path in out.iterdir()))


if __name__ == "__main__":
    main()
