"""Tiny models with random weights and tokenizers trained on the spot: a kind in, the folder of a model out.

A folder is built once in a test session; it loads as any model of the hub does, without a network.
"""

from __future__ import annotations

import atexit
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

KINDS = (
    "gpt2", "dialogpt", "llama", "llama-chat", "mistral", "bloom", "mamba", "marian", "bart", "t5", "bert",
    "bert-classifier",
)  # fmt: skip

CONTEXT = 256
"""Tokens a tiny decoder can see."""

_LINES = (
    "Once upon a time there was a river that left its bed and joined it again downstream.",
    "The quick brown fox jumps over the lazy dog, and the dog doesn't mind at all!",
    "A stream never hangs, leaks, or lies about how it ended.",
    "Write a short story about a lighthouse, a lamp and the sea.",
    "def add(a, b):\n    return a + b\n",
    '{"name": "Ada", "age": 36, "tags": ["one", "two"]}',
    "옛날 옛적에 강을 떠났다가 다시 만나는 작은 물줄기가 있었습니다.",
    "안녕하세요, 무엇을 도와드릴까요? 오늘 날씨가 참 좋네요.",
    "从前有一条小河，它离开了主流，又在下游重新汇合。",
    "你好！请给我讲一个关于海边灯塔的故事。",
    "Émile naïvely ordered a crème brûlée 🍮 and waved 👋🏽 at the family 👨‍👩‍👧.",
)

CHAT_TEMPLATE = (
    "{%- if tools %}<|im_start|>system\n"
    'Answer with <tool_call>\n{"name": …, "arguments": …}\n</tool_call> to call one of:\n'
    "{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{%- for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def corpus() -> Iterator[str]:
    """Yield what the tokenizers are trained on: three languages, emoji, code."""
    for _ in range(4):
        yield from _LINES


@cache
def model(kind: str) -> Path:
    """Return the folder of the tiny model of this kind, built now if it isn't yet."""
    folder = _root() / kind
    folder.mkdir()
    _builders()[kind](folder)
    return folder


def fresh(kind: str, folder: Path, **generation: Any) -> Path:
    """Return a copy of a tiny model whose generation_config.json says so."""
    shutil.copytree(model(kind), folder, dirs_exist_ok=True)
    path = folder / "generation_config.json"
    said = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(said | generation))
    return folder


@cache
def _root() -> Path:
    root = Path(tempfile.mkdtemp(prefix="tiny-models-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def _builders() -> dict[str, Callable[[Path], None]]:
    return {
        "gpt2": _gpt2,
        "dialogpt": _gpt2,
        "llama": _llama,
        "llama-chat": lambda folder: _llama(folder, chat_template=CHAT_TEMPLATE),
        "mistral": _mistral,
        "bloom": _bloom,
        "mamba": _mamba,
        "marian": _marian,
        "bart": _bart,
        "t5": _t5,
        "bert": _bert,
        "bert-classifier": _bert_classifier,
    }


def _gpt2(folder: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = byte_level(eos="<|endoftext|>")
    tokenizer.save_pretrained(folder)
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=CONTEXT, n_embd=32, n_layer=2, n_head=4, bos_token_id=end,
        eos_token_id=end, initializer_range=0.4,
    )  # fmt: skip
    _save(GPT2LMHeadModel, config, folder)


def _llama(folder: Path, chat_template: str | None = None) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = byte_level(eos="<|im_end|>", specials=("<|im_start|>", "<|endoftext|>"))
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(**_decoder(tokenizer))
    _save(LlamaForCausalLM, config, folder)


def _mistral(folder: Path) -> None:
    """Save a model whose layers see the last sixteen tokens only."""
    from transformers import MistralConfig, MistralForCausalLM

    tokenizer = byte_level(eos="</s>")
    tokenizer.save_pretrained(folder)
    config = MistralConfig(**_decoder(tokenizer), sliding_window=16)
    _save(MistralForCausalLM, config, folder)


def _bloom(folder: Path) -> None:
    """Save a model that takes no positions."""
    from transformers import BloomConfig, BloomForCausalLM

    tokenizer = byte_level(eos="</s>")
    tokenizer.save_pretrained(folder)
    end = tokenizer.eos_token_id
    config = BloomConfig(
        vocab_size=len(tokenizer), hidden_size=32, n_layer=2, n_head=4, initializer_range=0.4, bos_token_id=end,
        eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    _save(BloomForCausalLM, config, folder)


def _mamba(folder: Path) -> None:
    """Save a model that remembers without attending."""
    from transformers import MambaConfig, MambaForCausalLM

    tokenizer = byte_level(eos="</s>")
    tokenizer.save_pretrained(folder)
    end = tokenizer.eos_token_id
    config = MambaConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, state_size=8, initializer_range=0.4,
        bos_token_id=end, eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    _save(MambaForCausalLM, config, folder)


def _decoder(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": CONTEXT,
        "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": None, "initializer_range": 0.4,
    }  # fmt: skip


def _bart(folder: Path) -> None:
    """Save a model that, as bart-large-cnn does, forces its first and last token and repeats no three tokens."""
    from transformers import BartConfig, BartForConditionalGeneration

    tokenizer = byte_level(eos="</s>", bos="<s>", pad="<pad>", wrap=True)
    tokenizer.save_pretrained(folder)
    config = BartConfig(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=CONTEXT,
        init_std=0.4, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, decoder_start_token_id=tokenizer.eos_token_id,
        forced_eos_token_id=None,
    )  # fmt: skip
    _save(
        BartForConditionalGeneration, config, folder,
        forced_bos_token_id=tokenizer.bos_token_id, forced_eos_token_id=tokenizer.eos_token_id,
        no_repeat_ngram_size=3, min_length=6, max_length=40,
    )  # fmt: skip


def _t5(folder: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    tokenizer = byte_level(eos="</s>", pad="<pad>")
    tokenizer.save_pretrained(folder)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, initializer_factor=4.0,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    _save(T5ForConditionalGeneration, config, folder)


def _marian(folder: Path) -> None:
    """Save a model that, as opus-mt does, has sentencepiece tokenizers and may never say its padding."""
    from transformers import MarianConfig, MarianMTModel

    pieces = _sentencepiece(folder)
    vocabulary = {"</s>": 0, "<unk>": 1} | {piece: index for index, piece in enumerate(pieces, start=2)}
    vocabulary["<pad>"] = len(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "de"})
    )
    pad = vocabulary["<pad>"]
    config = MarianConfig(
        vocab_size=len(vocabulary), d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=CONTEXT,
        init_std=0.4, eos_token_id=0, pad_token_id=pad, decoder_start_token_id=pad, forced_eos_token_id=None,
        bos_token_id=None, scale_embedding=True,
    )  # fmt: skip
    _save(MarianMTModel, config, folder, bad_words_ids=[[pad]], forced_eos_token_id=0, max_length=48)


def _bert(folder: Path) -> None:
    from transformers import BertModel

    _save(BertModel, _bert_config(folder), folder)


def _bert_classifier(folder: Path) -> None:
    from transformers import BertForSequenceClassification

    labels = {"id2label": {0: "negative", 1: "neutral", 2: "positive"}}
    _save(BertForSequenceClassification, _bert_config(folder, **labels), folder)


def _bert_config(folder: Path, **more: Any) -> Any:
    from transformers import BertConfig

    tokenizer = _word_piece()
    tokenizer.save_pretrained(folder)
    return BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, initializer_range=0.2, pad_token_id=tokenizer.pad_token_id, **more,
    )  # fmt: skip


def _save(cls: Any, config: Any, folder: Path, **generation: Any) -> None:
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = cls(config)
    for name, value in generation.items():
        setattr(network.generation_config, name, value)
    network.save_pretrained(folder)


def byte_level(
    eos: str, bos: str | None = None, pad: str | None = None, specials: tuple[str, ...] = (), wrap: bool = False
) -> Any:
    """Return a tokenizer over bytes, as GPT-2's and Llama 3's are; `wrap` puts bos and eos around a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    named = [token for token in (bos, pad, eos, *specials) if token]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=named, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    if wrap and bos:
        ends = [(token, tokenizer.token_to_id(token)) for token in (bos, eos)]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A {eos}", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=eos, bos_token=bos, pad_token=pad, clean_up_tokenization_spaces=False
    )


def _word_piece() -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=500, special_tokens=specials, show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=64,
    )  # fmt: skip


def _sentencepiece(folder: Path) -> list[str]:
    """Train one tokenizer for both languages and return its pieces."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=corpus(), model_writer=written, vocab_size=320, hard_vocab_limit=False, minloglevel=2,
        character_coverage=1.0, num_threads=1, bos_id=-1, eos_id=-1, unk_id=0,
    )  # fmt: skip
    for name in ("source.spm", "target.spm"):
        (folder / name).write_bytes(written.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=written.getvalue())
    return [processor.id_to_piece(index) for index in range(1, processor.get_piece_size())]
