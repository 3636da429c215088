"""Train the small encoder–decoder of the example site, whose cross attention can be followed letter by letter.

    python example_site/models/dates/train.py            # about five minutes on one core
    python example_site/models/dates/train.py --scores   # only score the weights that are here

**What.** It translates dates: "Wednesday, 3 March 2021" → "2021-03-03". A MarianMT of transformers' own classes, the
architecture of Helsinki-NLP/opus-mt-*: an encoder of 2 layers of 4 heads, a decoder of 2 layers of 2 heads, 64
dimensions, one token per letter. The script writes the weights, the tokenizer and their configurations beside itself
and prints where each head of the cross attention looks.

**On what.** Random days from 1000 to 2999, each written in one of the WAYS. Every tenth day is held out: the model
never sees it in any way of writing, and is scored on these days alone.

**Why the attention can be read.** Nothing in the loss speaks of attention. But the digits of the year cannot be
guessed: each has to be fetched from where it stands, and where that is differs from way to way. The decoder has two
heads in two layers to do it with.

The result depends on the seed and on nothing else: one thread, deterministic algorithms. Another processor or another
version of torch may sum in another order and give slightly other weights.

Vaswani et al. 2017, "Attention Is All You Need", https://arxiv.org/abs/1706.03762
Bahdanau, Cho, Bengio 2015, "Neural Machine Translation by Jointly Learning to Align and Translate",
https://arxiv.org/abs/1409.0473
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from string import Formatter
from typing import NamedTuple

import torch
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import GenerationConfig, MarianConfig, MarianMTModel, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from training_loop import Losses, adamw, descend, reproduce  # noqa: E402

SEED = 0
LENGTH = 48  # positions of the model; the longest text has 29 letters
BATCH = 128
STEPS = 3000
LEARNING_RATE = 2e-3

FIRST, LAST = date(1000, 1, 1), date(2999, 12, 31)
MONTHS = ["January", "February", "March", "April", "May", "June"]
MONTHS += ["July", "August", "September", "October", "November", "December"]
WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
WAYS = [
    "{d} {Month} {y}",  # 3 March 2021
    "{dd} {Month} {y}",  # 03 March 2021
    "{d} {Mon} {y}",  # 3 Mar 2021
    "{d}-{Mon}-{y}",  # 3-Mar-2021
    "{Month} {d}, {y}",  # March 3, 2021
    "{Mon} {d}, {y}",  # Mar 3, 2021
    "{Month} {d}{th}, {y}",  # March 3rd, 2021
    "{d}{th} of {Month} {y}",  # 3rd of March 2021
    "the {d}{th} of {Month}, {y}",  # the 3rd of March, 2021
    "{Day} {d} {Mon} {y}",  # Wed 3 Mar 2021
    "{Weekday}, {d} {Month} {y}",  # Wednesday, 3 March 2021
    "{Weekday}, {Month} {d}, {y}",  # Wednesday, March 3, 2021
    "{y} {Month} {d}",  # 2021 March 3
    "{d}.{m}.{y}",  # 3.3.2021; between dots, the day comes first
    "{dd}.{mm}.{y}",  # 03.03.2021
    "{m}/{d}/{y}",  # 3/3/2021; between slashes, the month comes first
    "{mm}/{dd}/{y}",  # 03/03/2021
    "{y}/{mm}/{dd}",  # 2021/03/03
]
FIELDS = {"d": "d", "dd": "d", "m": "m", "mm": "m", "Mon": "m", "Month": "m", "y": "y"}
PRODUCED = "yyyy-mm-dd"  # the field of each letter of the translation


class Written(NamedTuple):
    text: str
    fields: str  # for each letter of the text y, m, d, or a space: none of these
    iso: str


# ---- dates -----------------------------------------------------------------------------------------------------------


def write(day: date, way: str) -> Written:
    """The date in one of the WAYS, and what each letter is part of."""
    text = fields = ""
    for literal, name, _, _ in Formatter().parse(way):
        letters = spell(day, name) if name else ""
        text += literal + letters
        fields += " " * len(literal) + FIELDS.get(name or "", " ") * len(letters)
    return Written(text, fields, day.isoformat())


def spell(day: date, name: str) -> str:
    month, weekday = MONTHS[day.month - 1], WEEKDAYS[day.weekday()]
    ending = {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th") if day.day not in (11, 12, 13) else "th"
    return {
        "d": str(day.day), "dd": f"{day.day:02}", "th": ending,
        "m": str(day.month), "mm": f"{day.month:02}", "Mon": month[:3], "Month": month,
        "y": str(day.year), "Day": weekday[:3], "Weekday": weekday,
    }[name]  # fmt: skip


def random_dates(seed: int | str, *, held_out: bool) -> Iterator[Written]:
    """Endless; every tenth day is held out."""
    rng = random.Random(seed)
    while True:
        number = rng.randint(FIRST.toordinal(), LAST.toordinal())
        if (number % 10 == 0) == held_out:
            yield write(date.fromordinal(number), rng.choice(WAYS))


# ---- tokens ----------------------------------------------------------------------------------------------------------


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token per letter, spaces included, and </s> at the end."""
    letters = sorted(set("".join([*MONTHS, *WEEKDAYS, "st nd rd th of the", "0123456789", ",./-"])))
    vocabulary = {token: number for number, token in enumerate(["<pad>", "</s>", "<unk>", *letters])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", vocabulary["</s>"])]
    )
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=LENGTH,
        model_input_names=["input_ids", "attention_mask"],
    )


def encode(tokenizer: PreTrainedTokenizerFast, dates: list[Written]) -> dict[str, torch.Tensor]:
    """input_ids, attention_mask and labels; all labels have the same length."""
    texts, targets = [one.text for one in dates], [one.iso for one in dates]
    return tokenizer(texts, text_target=targets, padding=True, return_tensors="pt")


# ---- model -----------------------------------------------------------------------------------------------------------


def make_model(tokenizer: PreTrainedTokenizerFast) -> MarianMTModel:
    torch.manual_seed(SEED)
    tokens = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    tokens["decoder_start_token_id"] = tokenizer.pad_token_id  # as in Marian
    config = MarianConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=LENGTH,
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=2,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        activation_function="relu",
        dropout=0.1,
        init_std=0.05,
        scale_embedding=True,
        bos_token_id=None,
        forced_eos_token_id=None,
        attn_implementation="eager",
        **tokens,
    )
    model = MarianMTModel(config)
    model.generation_config = GenerationConfig(max_length=16, num_beams=1, do_sample=False, **tokens)
    return model


def losses(model: MarianMTModel, tokenizer: PreTrainedTokenizerFast) -> Losses:
    """Yield the loss of each batch."""
    dates = random_dates(SEED, held_out=False)
    while True:
        loss = model(**encode(tokenizer, [next(dates) for _ in range(BATCH)])).loss
        yield loss, f"loss {loss.item():.4f}"


def train(model: MarianMTModel, tokenizer: PreTrainedTokenizerFast) -> None:
    model.train()
    descend(losses(model, tokenizer), adamw(model, LEARNING_RATE), steps=STEPS, rising=200, every=250)


# ---- scores ----------------------------------------------------------------------------------------------------------


def translate(model: MarianMTModel, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> list[str]:
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    return tokenizer.batch_decode(model.generate(**inputs), skip_special_tokens=True)


def looks(weights: torch.Tensor, one: Written) -> torch.Tensor:
    """The cross attention of one date, (layer, head, produced, letter), as mean weights (layer, head, [y, own, m, d]).

    Each is the weight on all letters of a field while its letters are produced; "own" is the weight of a digit of the
    year on that very digit.
    """
    own = torch.arange(4)
    means = [weights[:, :, own, one.fields.index("y") + own].mean(-1)]
    for field in "ymd":
        produced = [row for row, other in enumerate(PRODUCED) if other == field]
        letters = [col for col, other in enumerate(one.fields) if other == field]
        means.append(weights[:, :, produced][..., letters].sum(-1).mean(-1))
    return torch.stack([means[1], means[0], *means[2:]], -1)


@torch.no_grad()
def print_scores(model: MarianMTModel, tokenizer: PreTrainedTokenizerFast, count: int = 5000) -> None:
    model.eval().set_attn_implementation("eager")  # the only one that returns the weights
    unseen = random_dates("scores", held_out=True)
    dates = [next(unseen) for _ in range(count)]
    said = translate(model, tokenizer, [one.text for one in dates])
    right = sum(one.iso == iso for one, iso in zip(dates, said, strict=True))
    print(f"\nheld-out dates right: {right} of {count}, {right / count:.2%}\n")
    cross = torch.stack(model(**encode(tokenizer, dates), output_attentions=True).cross_attentions, 1)
    scores = torch.stack([looks(weights, one) for weights, one in zip(cross, dates, strict=True)]).mean(0)
    print("layer  head   year → year   year → that very digit   month → month   day → day")
    for layer, rows in enumerate(scores.tolist()):
        for head, (year, own, month, day) in enumerate(rows):
            print(f"{layer:5}  {head:4}   {year:11.2f}   {own:22.2f}   {month:13.2f}   {day:9.2f}")


def main() -> None:
    reproduce()
    tokenizer = make_tokenizer()
    if "--scores" in sys.argv[1:]:
        model = MarianMTModel.from_pretrained(HERE)
    else:
        model = make_model(tokenizer)
        train(model, tokenizer)
        model.save_pretrained(HERE)
        make_tokenizer().save_pretrained(HERE)  # not the one that padded the batches: it remembers
    print_scores(model, tokenizer)


if __name__ == "__main__":
    main()
