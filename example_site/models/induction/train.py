"""Train the small GPT-2 of the example site, in which an induction head can really be seen.

    python example_site/models/induction/train.py            # about five minutes on one core
    python example_site/models/induction/train.py --scores   # only score the weights that are here

**What.** A GPT-2 of transformers' own classes: 2 layers of 4 heads, 64 dimensions, 64 positions, one token per
word (`words.txt`). The script writes the weights, the tokenizer and their configurations beside itself and prints the
scores of every head.

**On what.** Two kinds of text, both made here, no two alike. *Word lists*: words drawn at random, among which earlier
stretches come back, of any length and from any distance. *Stories*: one to four random clauses ("the rabbit quickly
hopped over the fence"), told again and again in random order.

**Why induction heads form.** A random word cannot be predicted, except where the text repeats itself: there one must
find the earlier occurrence of the present word and say what came after it. Since the distance varies, position does
not help, and one layer cannot do it: what is sought is "the token whose *predecessor* is the present word". So a head
of layer 0 learns to copy each token's predecessor into it, and heads of layer 1 learn to look for that copy
(K-composition). In word lists only words that the text already holds count in the loss: the others are pure noise, and
without them the heads form in half the steps and come out sharper.

The result depends on the seed and on nothing else: one thread, deterministic algorithms. Another processor or another
version of torch may sum in another order and give slightly other weights.

Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits",
https://transformer-circuits.pub/2021/framework/
Olsson et al. 2022, "In-context Learning and Induction Heads",
https://transformer-circuits.pub/2022/in-context-learning-and-induction-heads/
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from training_loop import Losses, adamw, descend, reproduce  # noqa: E402

SEED = 0
LENGTH = 64  # positions of the model and tokens of each training text
BATCH = 64
STEPS = 2500
LEARNING_RATE = 3e-3
STORIES = 0.4  # share of the texts; the rest are word lists
NOT_COUNTED = -100  # the label that cross_entropy leaves out

Words = dict[str, list[str]]


# ---- words -----------------------------------------------------------------------------------------------------------


def read_words() -> Words:
    """The vocabulary by kind: {"animal": ["rabbit", …], …}."""
    lines = (HERE / "words.txt").read_text(encoding="utf-8").splitlines()
    kinds = (line.split(": ", 1) for line in lines if not line.startswith("#"))
    return {kind: words.split() for kind, words in kinds}


def make_tokenizer(words: Words) -> PreTrainedTokenizerFast:
    vocabulary = ["<pad>", "<unk>", *(word for kind in words.values() for word in kind)]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", model_max_length=LENGTH
    )


# ---- texts -----------------------------------------------------------------------------------------------------------


def word_list(rng: random.Random, words: Words) -> list[str]:
    """Random words, none twice, among which stretches of what was already said come back."""
    fresh = ["<unk>", *(word for kind in words.values() for word in kind)]
    rng.shuffle(fresh)
    text = [fresh.pop() for _ in range(rng.randint(2, 24))]
    while len(text) < LENGTH:
        if rng.random() < 0.7:
            start = rng.randrange(len(text) - 1)
            text += text[start : start + rng.randint(2, 24)]
        else:
            text += [fresh.pop() for _ in range(rng.randint(1, 8))]
    return text[:LENGTH]


def story(rng: random.Random, words: Words) -> list[str]:
    """A few clauses, each with a subject of its own, told again and again."""
    subjects = rng.sample(words["animal"] + words["person"] + words["name"], rng.randint(1, 4))
    clauses = [clause(rng, words, subject) for subject in subjects]
    text: list[str] = []
    while len(text) < LENGTH:
        text += rng.choice(clauses)
        text += rng.choice([["."], ["and"], [",", "and"], ["while"], ["but"], ["then"], [";"]])
    return text[:LENGTH]


def clause(rng: random.Random, words: Words, subject: str) -> list[str]:
    """Such as "the rabbit quickly hopped over the fence" or "anna found her golden key"."""

    def perhaps(kind: str, chance: float) -> list[str]:
        return [rng.choice(words[kind])] if rng.random() < chance else []

    def noun_phrase(noun: str) -> list[str]:
        determiner = "the" if rng.random() < 0.5 else rng.choice(words["determiner"])
        return [determiner, *perhaps("adjective", 0.25), noun]

    who = [subject] if subject in words["name"] else noun_phrase(subject)
    if rng.random() < 0.6:
        does = [rng.choice(words["motion"]), rng.choice(words["preposition"])]
        to = noun_phrase(rng.choice(words["place"]))
    else:
        does = [rng.choice(words["action"])]
        to = noun_phrase(rng.choice(words["thing"]))
    return [*who, *perhaps("adverb", 0.5), *does, *to]


def batches(ids: dict[str, int], words: Words) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (tokens, labels), each (BATCH, LENGTH)."""
    rng = random.Random(SEED)
    while True:
        kinds = [story if rng.random() < STORIES else word_list for _ in range(BATCH)]
        tokens = torch.tensor([[ids[word] for word in kind(rng, words)] for kind in kinds])
        heard = (tokens[:, :, None] == tokens[:, None, :]).tril(-1).any(-1)  # is this word in the text already?
        is_story = torch.tensor([kind is story for kind in kinds])[:, None]
        yield tokens, tokens.masked_fill(~(heard | is_story), NOT_COUNTED)


# ---- model -----------------------------------------------------------------------------------------------------------


def make_model(tokenizer: PreTrainedTokenizerFast) -> GPT2LMHeadModel:
    torch.manual_seed(SEED)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=LENGTH,
        n_embd=64,
        n_layer=2,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=None,
    )
    return GPT2LMHeadModel(config)


def losses(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, words: Words) -> Losses:
    """Yield the loss of each batch."""
    for tokens, labels in batches(tokenizer.get_vocab(), words):
        logits = model(tokens).logits[:, :-1]
        loss = cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=NOT_COUNTED)
        yield loss, f"loss {loss.item():.2f}"


def train(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, words: Words) -> None:
    optimizer = adamw(model, LEARNING_RATE)
    descend(losses(model, tokenizer, words), optimizer, steps=STEPS, falling=0.4, every=250)


# ---- scores ----------------------------------------------------------------------------------------------------------


def unseen_repeats(tokenizer: PreTrainedTokenizerFast, count: int = 500) -> Iterator[tuple[torch.Tensor, int, int]]:
    """Random words in which one stretch comes twice: (tokens, where the second copy starts, its distance)."""
    rng = random.Random("scores")  # not the seed of the training texts
    for _ in range(count):
        before, stretch, between = rng.randint(0, 10), rng.randint(4, 20), rng.randint(0, 10)
        fresh = rng.sample(range(tokenizer.unk_token_id + 1, len(tokenizer)), before + stretch + between)
        tokens = fresh + fresh[before : before + stretch]
        yield torch.tensor(tokens), len(fresh), stretch + between


@torch.no_grad()
def print_scores(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Report what each head does on repeats that it never saw, as the mean weight on the token in question."""
    model.eval().set_attn_implementation("eager")  # the only one that returns the weights
    right, heads = [], []
    for tokens, second, distance in unseen_repeats(tokenizer):
        output = model(tokens[None], output_attentions=True)
        weights = torch.cat(output.attentions)  # (layer, head, from, to)
        every, new = torch.arange(1, len(tokens)), torch.arange(1, second)
        again = torch.arange(second, len(tokens) - 1)  # words of the second copy, except the last
        right.append((output.logits[0, again].argmax(-1) == tokens[again + 1]).float())
        looks = [
            weights[:, :, every, every - 1],  # at the token before
            weights[:, :, every, every],  # at itself
            weights[:, :, new, 0],  # at the first token, while nothing repeats
            weights[:, :, again, again - distance + 1],  # at what came after this word last time
        ]
        heads.append(torch.stack([look.mean(-1) for look in looks], -1))
    print(f"\nnext word right in the second copy: {torch.cat(right).mean():.1%}\n")
    print("layer  head   previous   itself   first token   induction")
    for layer, rows in enumerate(torch.stack(heads).mean(0).tolist()):
        for head, (previous, itself, first, induction) in enumerate(rows):
            print(f"{layer:5}  {head:4}   {previous:8.2f}   {itself:6.2f}   {first:11.2f}   {induction:9.2f}")


def main() -> None:
    reproduce()
    words = read_words()
    tokenizer = make_tokenizer(words)
    if "--scores" in sys.argv[1:]:
        model = GPT2LMHeadModel.from_pretrained(HERE)
    else:
        model = make_model(tokenizer)
        train(model, tokenizer, words)
        model.save_pretrained(HERE)
        tokenizer.save_pretrained(HERE)
    print_scores(model, tokenizer)


if __name__ == "__main__":
    main()
