"""Train the small classifier of the example site, which tells praise of a film from blame.

    python example_site/models/reviews/train.py            # about three minutes on one core
    python example_site/models/reviews/train.py --scores   # only score the weights that are here

**What.** "the film is not bad at all." → positive. A DistilBERT of transformers' own classes, the architecture of
distilbert-base-uncased-finetuned-sst-2-english: 2 layers of 4 heads, 64 dimensions, one token per word, with ReLU in
place of GELU, so that all of Captum's methods apply. The script writes the weights, the tokenizer and their
configurations beside itself.

**On what.** Reviews of a small grammar (`grammar.py`), 320,000 of them. One pair in six of a negator and an adjective
is held out, *not* and *bad* among them; the model is scored on reviews that have such a pair.

**Gaps.** Of half of the reviews a tenth of the tokens is left out: their embeddings are zeros. So the model has met
texts with gaps, and who takes a word out to see what depends on it, as Captum's occlusion does, asks nothing strange of
it.

The result depends on the seed and on nothing else: one thread, deterministic algorithms. Another processor or another
version of torch may sum in another order and give slightly other weights.

Polanyi & Zaenen 2006, "Contextual Valence Shifters", https://doi.org/10.1007/1-4020-4102-0_1
Sanh et al. 2019, "DistilBERT, a distilled version of BERT", https://arxiv.org/abs/1910.01108
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from grammar import reviews, vocabulary
from transformers import DistilBertConfig, DistilBertForSequenceClassification, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from training_loop import Losses, adamw, descend, encode, reproduce, word_tokenizer  # noqa: E402

SEED = 0
LENGTH = 48  # positions of the model; a long review has 33 tokens
BATCH = 128
STEPS = 2500
LEARNING_RATE = 1e-3
GAPS = 0.1  # how many tokens are left out

LABELS = {0: "negative", 1: "positive"}


# ---- tokens ----------------------------------------------------------------------------------------------------------


def make_tokenizer() -> PreTrainedTokenizerFast:
    return word_tokenizer(vocabulary(), LENGTH)


def with_gaps(inputs: dict[str, torch.Tensor], pad: int) -> dict[str, torch.Tensor]:
    """Some tokens of half of the texts left out: [PAD] has an embedding of zeros, and stays in its place."""
    ids = inputs["input_ids"]
    left_out = (torch.rand(ids.shape) < GAPS) & (torch.rand(len(ids), 1) < 0.5)
    return {**inputs, "input_ids": ids.masked_fill(left_out, pad)}


# ---- model -----------------------------------------------------------------------------------------------------------


def make_model(tokenizer: PreTrainedTokenizerFast) -> DistilBertForSequenceClassification:
    torch.manual_seed(SEED)
    config = DistilBertConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=LENGTH,
        n_layers=2,
        n_heads=4,
        dim=64,
        hidden_dim=128,
        activation="relu",
        initializer_range=0.05,
        pad_token_id=tokenizer.pad_token_id,
        id2label=LABELS,
        label2id={label: number for number, label in LABELS.items()},
        problem_type="single_label_classification",
        attn_implementation="eager",
    )
    return DistilBertForSequenceClassification(config)


def losses(model: DistilBertForSequenceClassification, tokenizer: PreTrainedTokenizerFast) -> Losses:
    """Yield the loss of each batch."""
    made = reviews(SEED, held_out=False)
    while True:
        some = list(islice(made, BATCH))
        labels = torch.tensor([int(one.good) for one in some])
        inputs = with_gaps(encode(tokenizer, [one.text for one in some]), tokenizer.pad_token_id)
        loss = model(**inputs, labels=labels).loss
        yield loss, f"loss {loss.item():.4f}"


def train(model: DistilBertForSequenceClassification, tokenizer: PreTrainedTokenizerFast) -> None:
    model.train()
    descend(losses(model, tokenizer), adamw(model, LEARNING_RATE), steps=STEPS, rising=100, every=250)


# ---- scores ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def verdicts(
    model: DistilBertForSequenceClassification, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]
) -> list[bool]:
    """Return whether each text is taken for praise."""
    found = model(**encode(tokenizer, texts)).logits.argmax(-1)
    return [LABELS[number] == "positive" for number in found.tolist()]


def print_scores(
    model: DistilBertForSequenceClassification, tokenizer: PreTrainedTokenizerFast, count: int = 2000
) -> None:
    model.eval()
    some = list(islice(reviews("scores", held_out=True), count))
    said = verdicts(model, tokenizer, [one.text for one in some])
    right = [one.good == good for one, good in zip(some, said, strict=True)]
    print("\nright, of held-out reviews")
    for kind in ("all", "plain", "and", "but", "although", "despite"):
        of_kind = [is_right for one, is_right in zip(some, right, strict=True) if kind in ("all", one.kind)]
        print(f"  {kind:10} {sum(of_kind):5} of {len(of_kind):5}, {sum(of_kind) / len(of_kind):.1%}")
    for one in [one for one, is_right in zip(some, right, strict=True) if not is_right][:5]:
        print(f"    wrong: {one.text}")
    told = [text for text in sys.argv[1:] if not text.startswith("--")]
    for text, good in zip(told, verdicts(model, tokenizer, told) if told else [], strict=True):
        print(f"{LABELS[good]}   {text}")


def main() -> None:
    reproduce()
    if "--scores" in sys.argv[1:]:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(HERE)
        model = DistilBertForSequenceClassification.from_pretrained(HERE)
    else:
        tokenizer = make_tokenizer()
        model = make_model(tokenizer)
        train(model, tokenizer)
        model.save_pretrained(HERE)
        make_tokenizer().save_pretrained(HERE)  # not the one that padded the batches: it remembers
    print_scores(model, tokenizer)


if __name__ == "__main__":
    main()
