"""Real tokenizers of each kind, trained on a few lines: none can be downloaded here."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import sentencepiece
import transformers
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

LINES = ["the cat sat on the mat . the turtle and the rabbit", "a cat, a mat! don't run."] * 5
JAPANESE = ["吾輩は猫である。名前はまだ無い。", "どこで生れたかとんと見当がつかぬ。"] * 5
BYTES = [f"<0x{byte:02X}>" for byte in range(0x100)]


def fast(backend: Tokenizer, **special: str) -> transformers.PreTrainedTokenizerFast:
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def byte_level(*more: AddedToken, lines: Iterable[str] = LINES) -> transformers.PreTrainedTokenizerFast:
    """Return a tokenizer like GPT-2's; `more` are added tokens."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    backend.train_from_iterator(lines, trainer)
    backend.add_tokens(list(more))
    return fast(backend, eos_token="<|endoftext|>")


def byte_fallback() -> transformers.PreTrainedTokenizerFast:
    """Return a tokenizer like Llama's: the model gets the whole text, and bytes stand for what the vocabulary lacks."""
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trained.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    trained.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=200, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    vocabulary = {name: n for n, name in enumerate(["<unk>", "<s>", "</s>", *BYTES, *model["vocab"]])}
    merges = [tuple(pair) for pair in model["merges"]]
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.normalizer = trained.normalizer
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s> $B", [("<s>", 1)])
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    return fast(backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def unigram(lines: Iterable[str]) -> transformers.PreTrainedTokenizerFast:
    """Return a tokenizer like those of T5 and XLM-RoBERTa."""
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False
    )
    backend.train_from_iterator(lines, trainer)
    return fast(backend, unk_token="<unk>", eos_token="</s>")


def slow_sentencepiece(folder: Path, *, fallback: bool) -> transformers.PreTrainedTokenizer:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([*LINES, *JAPANESE]),
        model_prefix=str(folder / "sp"),
        vocab_size=320 if fallback else 70,
        byte_fallback=fallback,
        character_coverage=0.98,
        hard_vocab_limit=False,
        minloglevel=3,
    )
    return transformers.BertGenerationTokenizer(str(folder / "sp.model"))


def m2m100(folder: Path) -> transformers.PreTrainedTokenizer:
    """Return a tokenizer that puts the language before the text."""
    slow_sentencepiece(folder, fallback=False)
    pieces = sentencepiece.SentencePieceProcessor(str(folder / "sp.model"))
    names = {pieces.id_to_piece(n): n for n in range(pieces.get_piece_size())}
    (folder / "vocab.json").write_text(json.dumps(names | {"<pad>": len(names)}))
    return transformers.M2M100Tokenizer(str(folder / "vocab.json"), str(folder / "sp.model"))


def neox_japanese(folder: Path) -> transformers.PreTrainedTokenizer:
    """Return a tokenizer whose bytes are `<|byte195|>`, and which decodes one of them alone as �."""
    names = ["<|endoftext|>", "<|startoftext|>", "<SP>", "<BR>", "o", "k", *(f"<|byte{n}|>" for n in range(0x100))]
    (folder / "vocab.txt").write_text("\n".join(names))
    (folder / "emoji.json").write_text(json.dumps({"emoji": {}, "emoji_inv": {}}))
    return transformers.GPTNeoXJapaneseTokenizer(str(folder / "vocab.txt"), str(folder / "emoji.json"))


def ctrl(folder: Path) -> transformers.PreTrainedTokenizer:
    """Return a tokenizer whose pieces of a word end with `@@`."""
    (folder / "merges.txt").write_text("#version: 0.2\nt h\nth e</w>\na t</w>\n")
    names = ["<unk>", "s@@", "at", "the", "on", "c@@"]
    (folder / "vocab.json").write_text(json.dumps({name: n for n, name in enumerate(names)}))
    return transformers.CTRLTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))


def phobert(folder: Path) -> transformers.PreTrainedTokenizer:
    (folder / "vocab.txt").write_text("s@@ 1\nat 1\nthe 1\n")
    (folder / "bpe.codes").write_text("a t</w> 1\nt h 1\nth e</w> 1\n")
    return transformers.PhobertTokenizer(str(folder / "vocab.txt"), str(folder / "bpe.codes"))


def word_piece(folder: Path, kind: type) -> transformers.PreTrainedTokenizerBase:
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Ġ", "##ur", "##nata", "cat", "##s", "▁", "<0x0A>"]
    (folder / "vocab.txt").write_text("\n".join(names))
    return kind(str(folder / "vocab.txt"), do_lower_case=False)


def word_end() -> transformers.PreTrainedTokenizerFast:
    """Return a tokenizer like the first GPT's: `</w>` ends a word."""
    backend = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token="<unk>"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.BertPreTokenizer(), decoders.BPEDecoder("</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=60, end_of_word_suffix="</w>", special_tokens=["<unk>"], show_progress=False
    )
    backend.train_from_iterator(LINES, trainer)
    return fast(backend, unk_token="<unk>")


def myt5(folder: Path) -> transformers.PreTrainedTokenizer:
    """Return a tokenizer whose tokens are bytes in hexadecimal digits."""
    (folder / "byte_maps.json").write_text(json.dumps({"decompose_map": {"a": "61"}, "merge_map": {"61": "61"}}))
    return transformers.MyT5Tokenizer(str(folder / "byte_maps.json"))
