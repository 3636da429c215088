"""Train the small English–German translator of the example site.

    python example_site/models/en-de/train.py            # about ten minutes on one core
    python example_site/models/en-de/train.py --scores   # only score the weights that are here

**What.** A MarianMT of transformers' own classes, the architecture of Helsinki-NLP/opus-mt-en-de: an encoder of 3
layers, a decoder of 2, 4 heads each, 64 dimensions. The script writes the weights, the tokenizer and their
configurations beside itself and prints how well each head of the cross attention finds the word that is being
translated.

**On what.** Sentences of a small grammar (`grammar.py`), half a million of them, most of them unlike all others. One
pair of adjective and noun in eight is held out, *small elephant* among them; the model is scored on sentences that have
such a pair.

**Guided alignment.** The first head of the decoder's last layer is told where to look: while a word is written, at the
word that it renders. It is what Marian's `--guided-alignment` does, with which those models of OPUS-MT are trained that
are called transformer-align, except that here the alignment is known, not estimated. The other seven heads are told
nothing.

The result depends on the seed and on nothing else: one thread, deterministic algorithms. Another processor or another
version of torch may sum in another order and give slightly other weights.

Vaswani et al. 2017, "Attention Is All You Need", https://arxiv.org/abs/1706.03762
Garg et al. 2019, "Jointly Learning to Align and Translate with Transformer Models", https://arxiv.org/abs/1909.02074
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import torch
from grammar import Pair, Words, sentences
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import BatchEncoding, GenerationConfig, MarianConfig, MarianMTModel, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from training_loop import Losses, adamw, descend, reproduce  # noqa: E402

SEED = 0
LENGTH = 64  # positions of the model
BATCH = 128
STEPS = 4000
LEARNING_RATE = 2e-3
GUIDED = (1, 0)  # layer and head
GUIDANCE = 0.1  # weight of the guided head's loss

SPECIAL = ["<pad>", "</s>", "<unk>"]
LETTERS = "▁,.?ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÜabcdefghijklmnopqrstuvwxyzäöüß"
LONG = 7  # letters; words that are longer lose their endings
ENDINGS = ["nen", "en", "er", "es", "ed", "e", "n", "s", "t"]


# ---- tokens ----------------------------------------------------------------------------------------------------------


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One vocabulary for both languages, as in Marian; a text is cut into as few pieces as it holds."""
    found = {piece for pair in islice(sentences(SEED, held_out=False), 30_000) for piece in pieces(pair)}
    vocabulary = [(token, 0.0) for token in SPECIAL]
    vocabulary += [(piece, -1.0) for piece in sorted(found)]
    vocabulary += [(letter, -10.0) for letter in LETTERS if letter not in found]
    tokenizer = Tokenizer(Unigram(vocabulary, unk_id=SPECIAL.index("<unk>")))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", SPECIAL.index("</s>"))]
    )
    tokenizer.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=LENGTH,
        model_input_names=["input_ids", "attention_mask"],
    )


def pieces(pair: Pair) -> list[str]:
    """Words up to LONG letters are one piece; "neighbours" is "▁neighbour" and "s"."""
    found = []
    for word in (pair.text + " " + pair.target).replace(",", " ,").replace(".", " .").replace("?", " ?").split():
        ending = next((end for end in ENDINGS if word.endswith(end)), "") if len(word) > LONG else ""
        stem = word.removesuffix(ending)
        found += [stem if stem in ",.?" else "▁" + stem, *([ending] if ending else [])]
    return found


def encode(tokenizer: PreTrainedTokenizerFast, pairs: list[Pair]) -> tuple[BatchEncoding, torch.Tensor]:
    """input_ids, attention_mask and labels; and which piece renders which: (pair, produced, read)."""
    source = tokenizer([pair.text for pair in pairs], padding=True, return_tensors="pt")
    target = tokenizer(text_target=[pair.target for pair in pairs], padding=True, return_tensors="pt")
    numbers: dict[str, int] = {}
    read = roles([pair.english for pair in pairs], source, numbers)
    produced = roles([pair.german for pair in pairs], target, numbers)
    renders = (produced[:, :, None] == read[:, None, :]) & (produced[:, :, None] > 0)
    source["labels"] = target["input_ids"].masked_fill(target["attention_mask"] == 0, -100)
    return source, renders


def roles(texts: list[Words], encoded: BatchEncoding, numbers: dict[str, int]) -> torch.Tensor:
    """The number of each piece's role; 0 where there is none."""
    rows = []
    for row, words in enumerate(texts):
        of_word = [numbers.setdefault(word.role, len(numbers) + 1) if word.role else 0 for word in words]
        rows.append([0 if word is None else of_word[word] for word in encoded.word_ids(row)])
    return torch.tensor(rows)


# ---- model -----------------------------------------------------------------------------------------------------------


def make_model(tokenizer: PreTrainedTokenizerFast) -> MarianMTModel:
    torch.manual_seed(SEED)
    tokens = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    tokens["decoder_start_token_id"] = tokenizer.pad_token_id  # as in Marian
    config = MarianConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=LENGTH,
        d_model=64,
        encoder_layers=3,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        activation_function="swish",
        dropout=0.1,
        init_std=0.05,
        scale_embedding=True,
        bos_token_id=None,
        forced_eos_token_id=None,
        attn_implementation="eager",
        **tokens,
    )
    model = MarianMTModel(config)
    model.generation_config = GenerationConfig(max_length=LENGTH, num_beams=1, do_sample=False, **tokens)
    return model


def guided_loss(cross: tuple[torch.Tensor, ...], renders: torch.Tensor) -> torch.Tensor:
    """Return the guided head's loss on the word that is rendered, in nats; 0 if that has all its weight."""
    layer, head = GUIDED
    weight = (cross[layer][:, head] * renders).sum(-1)[renders.any(-1)]
    return -(weight + 1e-6).log().mean()


def losses(model: MarianMTModel, tokenizer: PreTrainedTokenizerFast) -> Losses:
    """Yield the loss of each batch, which has that of the guided head in it."""
    pairs = sentences(SEED, held_out=False)
    while True:
        inputs, renders = encode(tokenizer, list(islice(pairs, BATCH)))
        output = model(**inputs, output_attentions=True)
        guidance = guided_loss(output.cross_attentions, renders)
        told = f"loss {output.loss.item():.4f}   guided head {guidance.item():.4f}"
        yield output.loss + GUIDANCE * guidance, told


def train(model: MarianMTModel, tokenizer: PreTrainedTokenizerFast) -> None:
    model.train()
    descend(losses(model, tokenizer), adamw(model, LEARNING_RATE), steps=STEPS, rising=200, every=250)


# ---- scores ----------------------------------------------------------------------------------------------------------


def translate(model: MarianMTModel, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[str]:
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    return tokenizer.batch_decode(model.generate(**inputs), skip_special_tokens=True)


@torch.no_grad()
def print_scores(model: MarianMTModel, tokenizer: PreTrainedTokenizerFast, count: int = 2000) -> None:
    model.eval().set_attn_implementation("eager")  # the only one that returns the weights
    pairs = list(islice(sentences("scores", held_out=True), count))
    said = translate(model, tokenizer, [pair.text for pair in pairs])
    wrong = [(pair, german) for pair, german in zip(pairs, said, strict=True) if pair.target != german]
    print(f"\nheld-out sentences right: {count - len(wrong)} of {count}, {1 - len(wrong) / count:.2%}")
    for pair, german in wrong[:5]:
        print(f"  {pair.text} → {german}, not {pair.target}")
    inputs, renders = encode(tokenizer, pairs)
    scored = renders.any(-1)
    print("\nlayer  head   weight on the word rendered   most weight there")
    for layer, weights in enumerate(model(**inputs, output_attentions=True).cross_attentions):
        for head in range(weights.shape[1]):
            mean = (weights[:, head] * renders).sum(-1)[scored].mean()
            most = renders.gather(-1, weights[:, head].argmax(-1, keepdim=True))[..., 0][scored].float().mean()
            print(f"{layer:5}  {head:4}   {mean:27.2f}   {most:17.1%}")


def main() -> None:
    reproduce()
    if "--scores" in sys.argv[1:]:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(HERE)
        model = MarianMTModel.from_pretrained(HERE)
    else:
        tokenizer = make_tokenizer()
        model = make_model(tokenizer)
        train(model, tokenizer)
        model.save_pretrained(HERE)
        tokenizer.save_pretrained(HERE)
    print_scores(model, tokenizer)


if __name__ == "__main__":
    main()
