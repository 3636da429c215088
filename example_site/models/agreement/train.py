"""Train the small masked language model of the example site, in which a verb agrees with its subject.

    python example_site/models/agreement/train.py            # about six minutes on one core
    python example_site/models/agreement/train.py --scores   # only score the weights that are here

**What.** It says what a `[MASK]` hides: "the keys to the cabinet [MASK] on the table." → "are". A BERT of transformers'
own classes: 3 layers of 4 heads, 64 dimensions, one token per word. The script writes the weights, the tokenizer and
their configurations beside itself, and prints how often the verb is right, and what each head does for it.

**On what.** Sentences of a small grammar (`grammar.py`), 640,000 of them. One pair in eight of a noun and the noun
behind it is held out, *key* and *cabinet* among them; the model is scored on sentences that have such a pair.

**How.** BERT's masked language modelling (Devlin et al. 2019), without its second task. Every fifth word or so is
hidden, whatever it is: nobody says that verbs matter. Hidden words are always `[MASK]`. BERT leaves some as they are,
or puts others there, for the sake of later tasks, in which nothing is hidden.

The result depends on the seed and on nothing else: one thread, deterministic algorithms. Another processor or another
version of torch may sum in another order and give slightly other weights.

Linzen, Dupoux, Goldberg 2016, "Assessing the Ability of LSTMs to Learn Syntax-Sensitive Dependencies",
https://arxiv.org/abs/1611.01368
Goldberg 2019, "Assessing BERT's Syntactic Abilities", https://arxiv.org/abs/1901.05287
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import torch
from grammar import Sentence, Verb, sentences, vocabulary
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from training_loop import SPECIAL, Losses, adamw, descend, encode, reproduce, word_tokenizer  # noqa: E402

SEED = 0
LENGTH = 40  # positions of the model; the longest sentence has 34 tokens
BATCH = 128
STEPS = 5000
LEARNING_RATE = 2e-3
HIDDEN = 0.2  # how many words are masked


# ---- tokens ----------------------------------------------------------------------------------------------------------


def make_tokenizer() -> PreTrainedTokenizerFast:
    return word_tokenizer(vocabulary(), LENGTH)


# ---- model -----------------------------------------------------------------------------------------------------------


def make_model(tokenizer: PreTrainedTokenizerFast) -> BertForMaskedLM:
    torch.manual_seed(SEED)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=LENGTH,
        type_vocab_size=1,
        initializer_range=0.05,
        hidden_dropout_prob=0.0,  # no sentence comes twice
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="eager",
    )
    return BertForMaskedLM(config)


def hide(inputs: dict[str, torch.Tensor], mask: int) -> dict[str, torch.Tensor]:
    """Some words masked, at least one in each sentence; labels are these words alone."""
    ids, real = inputs["input_ids"], inputs["input_ids"] >= len(SPECIAL)
    chance = torch.rand(ids.shape).masked_fill(~real, 2.0)
    hidden = (chance < HIDDEN) | (chance == chance.min(1, keepdim=True).values)
    return {**inputs, "input_ids": ids.masked_fill(hidden, mask), "labels": ids.masked_fill(~hidden, -100)}


def losses(model: BertForMaskedLM, tokenizer: PreTrainedTokenizerFast) -> Losses:
    """Yield the loss of each batch."""
    texts = (one.text for one in sentences(SEED, held_out=False))
    while True:
        inputs = hide(encode(tokenizer, list(islice(texts, BATCH))), tokenizer.mask_token_id)
        loss = model(**inputs).loss
        yield loss, f"loss {loss.item():.4f}"


def train(model: BertForMaskedLM, tokenizer: PreTrainedTokenizerFast) -> None:
    model.train()
    descend(losses(model, tokenizer), adamw(model, LEARNING_RATE), steps=STEPS, rising=200, every=250)


# ---- scores ----------------------------------------------------------------------------------------------------------


def questions(count: int, seed: str = "scores") -> list[tuple[Sentence, Verb]]:
    """Held-out sentences, each with its last verb that tells one from many."""
    found = []
    for one in sentences(seed, held_out=True):
        verbs = [verb for verb in one.verbs if one.words[verb.at] in verb.right]
        if verbs and one.held_out:
            found.append((one, verbs[-1]))
        if len(found) == count:
            return found
    return found


@torch.no_grad()
def logits_at(
    model: BertForMaskedLM, tokenizer: PreTrainedTokenizerFast, asked: Sequence[tuple[Sentence, int]]
) -> torch.Tensor:
    """Return what is expected in the place of a word of each sentence, (B, V)."""
    inputs = encode(tokenizer, [one.text for one, _ in asked])
    rows, at = torch.arange(len(asked)), torch.tensor([1 + at for _, at in asked])  # behind [CLS]
    inputs["input_ids"][rows, at] = tokenizer.mask_token_id
    return model(**inputs).logits[rows, at]


def said(
    model: BertForMaskedLM, tokenizer: PreTrainedTokenizerFast, asked: Sequence[tuple[Sentence, int]]
) -> list[str]:
    """The likeliest word in each place."""
    return tokenizer.convert_ids_to_tokens(logits_at(model, tokenizer, asked).argmax(-1).tolist())


def right_verbs(
    model: BertForMaskedLM,
    tokenizer: PreTrainedTokenizerFast,
    asked: Sequence[tuple[Sentence, Verb]],
    of: str = "right",
) -> list[bool]:
    """Return whether the likeliest word is a verb that fits; in number or tense alone with `right_number`,
    `right_tense`."""
    words = said(model, tokenizer, [(one, verb.at) for one, verb in asked])
    return [word in getattr(verb, of) for word, (_, verb) in zip(words, asked, strict=True)]


def right_pronouns(
    model: BertForMaskedLM, tokenizer: PreTrainedTokenizerFast, asked: Sequence[tuple[Sentence, int]]
) -> list[bool]:
    words = said(model, tokenizer, asked)
    return [one.words[at] == word for word, (one, at) in zip(words, asked, strict=True)]


@contextmanager
def without(model: BertForMaskedLM, layer: int, heads: Sequence[int]) -> Iterator[None]:
    """Heads taken out: what they would hand on is zero."""
    output = model.bert.encoder.layer[layer].attention.output.dense
    size = model.config.hidden_size // model.config.num_attention_heads

    def zero(_: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        taken = inputs[0].clone()
        for head in heads:
            taken[..., head * size : (head + 1) * size] = 0
        return (taken,)

    hook = output.register_forward_pre_hook(zero)
    try:
        yield
    finally:
        hook.remove()


def print_scores(model: BertForMaskedLM, tokenizer: PreTrainedTokenizerFast, count: int = 2000) -> None:
    model.eval().set_attn_implementation("eager")  # the only one that returns the weights
    asked = questions(count)
    right = right_verbs(model, tokenizer, asked)
    kinds = {
        "the verb": [True] * count,
        "… a noun of the other number in between": [verb.distracted for _, verb in asked],
        "… a clause in between": [verb.between == "clause" for _, verb in asked],
        "… yesterday": [verb.past for _, verb in asked],
    }
    print("\nright, of held-out sentences")
    for name, chosen in kinds.items():
        print_share(name, [one for one, is_chosen in zip(right, chosen, strict=True) if is_chosen])
    pronouns = [(one, verb.pronoun) for one, verb in asked if verb.pronoun is not None]
    print_share("the pronoun", right_pronouns(model, tokenizer, pronouns))
    for one, verb in [pair for pair, is_right in zip(asked, right, strict=True) if not is_right][:5]:
        print(f"    wrong: {one.words[verb.at]} in {one.text}")
    print_heads(model, tokenizer, [(one, verb) for one, verb in asked if verb.distracted], pronouns)


def print_share(name: str, right: Sequence[bool]) -> None:
    print(f"  {name:40} {sum(right):5} of {len(right):5}, {sum(right) / len(right):.1%}")


def print_heads(
    model: BertForMaskedLM,
    tokenizer: PreTrainedTokenizerFast,
    asked: Sequence[tuple[Sentence, Verb]],
    pronouns: Sequence[tuple[Sentence, int]],
) -> None:
    """Report what each head looks at from the verb's place, and what is still right without it."""
    past = [(one, verb) for one, verb in asked if verb.past]
    subjects = attention(model, tokenizer, asked, [verb.subject for _, verb in asked])
    yesterday = attention(model, tokenizer, past, [0] * len(past))
    print(f"\nof {len(asked)} with a noun of the other number in between, {len(past)} of them with *yesterday*;")
    print(f"of {len(pronouns)} pronouns")
    print("             weight on the          without the head, right")
    print("layer  head  subject  yesterday     number   tense (yesterday)   pronoun")
    for layer in range(model.config.num_hidden_layers):
        for head in range(model.config.num_attention_heads):
            with without(model, layer, [head]):
                number = right_verbs(model, tokenizer, asked, "right_number")
                tense = right_verbs(model, tokenizer, past, "right_tense")
                pronoun = right_pronouns(model, tokenizer, pronouns)
            weights = f"{subjects[layer, head]:7.2f}  {yesterday[layer, head]:9.2f}"
            shares = [f"{sum(right) / len(right):6.1%}" for right in (number, tense, pronoun)]
            print(f"{layer:5}  {head:4}  {weights}     {shares[0]}   {shares[1]:>17}    {shares[2]}")


@torch.no_grad()
def attention(
    model: BertForMaskedLM,
    tokenizer: PreTrainedTokenizerFast,
    asked: Sequence[tuple[Sentence, Verb]],
    looked_at: Sequence[int],
) -> torch.Tensor:
    """Mean weights from the masked verb to one word of each sentence, (layer, head)."""
    inputs = encode(tokenizer, [one.text for one, _ in asked])
    rows, at = torch.arange(len(asked)), torch.tensor([1 + verb.at for _, verb in asked])  # behind [CLS]
    inputs["input_ids"][rows, at] = tokenizer.mask_token_id
    weights = model(**inputs, output_attentions=True).attentions
    cols = torch.tensor([1 + word for word in looked_at])
    return torch.stack([layer[rows, :, at, cols].mean(0) for layer in weights])


def main() -> None:
    reproduce()
    if "--scores" in sys.argv[1:]:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(HERE)
        model = BertForMaskedLM.from_pretrained(HERE)
    else:
        tokenizer = make_tokenizer()
        model = make_model(tokenizer)
        train(model, tokenizer)
        model.save_pretrained(HERE)
        make_tokenizer().save_pretrained(HERE)  # not the one that padded the batches: it remembers
    print_scores(model, tokenizer)


if __name__ == "__main__":
    main()
