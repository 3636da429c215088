"""Train the small model of characters of the example site, an LSTM whose cells count and remember.

    python example_site/models/characters/train.py            # about fifteen minutes on one core
    python example_site/models/characters/train.py --scores   # only score the weights that are here

**What.** It predicts the next character: two layers of LSTM (`torch.nn.LSTM`) with 128 cells each
(`modeling_characters.py`). The script writes the weights, the tokenizer and their configurations beside itself, and
prints what the model has learned.

**On what.** Stories with direct speech and programs with brackets (`grammar.py`), without end; no text comes twice.
To predict well, a model must remember whether somebody is speaking, where in the line it is, and which brackets are
open. Nobody says so: it sees characters only.

**How.** Truncated backpropagation through time: 64 texts are read side by side, 100 characters a step, and each
begins a step with the state in which it ended the last one, so that the model learns to keep something for longer.

The result depends on the seed and on nothing else: one thread, deterministic algorithms. Another processor or another
version of torch may sum in another order and give slightly other weights.

Karpathy, Johnson, Fei-Fei 2015, "Visualizing and Understanding Recurrent Networks", https://arxiv.org/abs/1506.02078
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import torch
from grammar import documents
from modeling_characters import CharactersConfig, CharactersForCausalLM
from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from training_loop import Losses, descend, reproduce  # noqa: E402

SEED = 0
TEXTS = 64
"""The number of texts that are read side by side."""
LENGTH = 100
"""The number of characters of each that are read in a step."""
STEPS = 2500
LEARNING_RATE = 5e-3
SPECIAL = ["<pad>", "<unk>"]
CHARACTERS = "\n !\"'()*+,-./0123456789:;<=>?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]_abcdefghijklmnopqrstuvwxyz{}"


# ---- tokens ----------------------------------------------------------------------------------------------------------


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer of one token for each character; nothing is added or changed."""
    numbers = {token: number for number, token in enumerate([*SPECIAL, *CHARACTERS])}
    tokenizer = Tokenizer(WordLevel(numbers, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def stream(seed: int | str, number: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield one endless text as ids, `LENGTH` of them at a time. `number` has the id of each character by its code."""
    rest = ""
    for document in documents(seed):
        rest += document
        while len(rest) >= LENGTH:
            yield number[torch.tensor([ord(character) for character in rest[:LENGTH]])]
            rest = rest[LENGTH:]


def numbers_by_code(tokenizer: PreTrainedTokenizerFast) -> torch.Tensor:
    """Return the id of each ASCII character."""
    number = torch.full((128,), tokenizer.unk_token_id)
    for character in CHARACTERS:
        number[ord(character)] = tokenizer.convert_tokens_to_ids(character)
    return number


# ---- model -----------------------------------------------------------------------------------------------------------


def make_model(tokenizer: PreTrainedTokenizerFast) -> CharactersForCausalLM:
    """Return the model with random weights; each forget gate begins open, as Jozefowicz et al. (2015) advise."""
    torch.manual_seed(SEED)
    model = CharactersForCausalLM(CharactersConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id))
    size = model.config.hidden_size
    with torch.no_grad():
        for layer in range(model.config.num_hidden_layers):
            getattr(model.lstm, f"bias_hh_l{layer}")[size : 2 * size] = 1.0
    return model


def losses(model: CharactersForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Losses:
    """Yield the loss of each batch, which begins in the state in which the one before has ended."""
    number = numbers_by_code(tokenizer)
    texts = [stream(f"{SEED}/{text}", number) for text in range(TEXTS)]
    state, last = None, torch.stack([next(text) for text in texts])[:, -1:]
    while True:
        batch = torch.stack([next(text) for text in texts])  # (texts, LENGTH)
        inputs, last = torch.cat([last, batch[:, :-1]], 1), batch[:, -1:]
        hidden, state = model.lstm(model.embedding(inputs), state)
        state = tuple(part.detach() for part in state)
        loss = functional.cross_entropy(model.lm_head(hidden).flatten(0, 1), batch.flatten())
        yield loss, f"{loss.item() / math.log(2):.3f} bits a character"


def train(model: CharactersForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    descend(losses(model, tokenizer), optimizer, steps=STEPS, every=100)


# ---- scores ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def print_scores(model: CharactersForCausalLM, tokenizer: PreTrainedTokenizerFast, count: int = 200) -> None:
    """Print how well unseen text is predicted: all of it, and what takes memory."""
    model.eval()
    text = "".join(islice(documents("scores"), count))
    ids = numbers_by_code(tokenizer)[torch.tensor([ord(character) for character in text])]
    logits = model(ids[None]).logits[0, :-1]
    loss = functional.cross_entropy(logits, ids[1:], reduction="none") / math.log(2)
    right = logits.argmax(-1) == ids[1:]
    print(
        f"\n{len(text)} characters of unseen text: {loss.mean():.3f} bits a character, {right.float().mean():.1%} right"
    )
    before, after = text[:-1], text[1:]
    kinds = {
        "a line break in a story": [b == "\n" and a not in ";{}\n" for a, b in pairwise(text)],
        "the end of a quotation": [b == '"' and a in ".,y" for a, b in zip(before, after, strict=True)],
        "a closing bracket": [b in ")]" for b in after],
        "the indentation": [b == " " and a in "\n " for a, b in zip(before, after, strict=True)],
    }
    for name, places in kinds.items():
        chosen = torch.tensor(places)
        print(f"  {name:26} {loss[chosen].mean():.3f} bits, {right[chosen].float().mean():.1%} right")


def main() -> None:
    reproduce()
    if "--scores" in sys.argv[1:]:
        print_scores(CharactersForCausalLM.from_pretrained(HERE), PreTrainedTokenizerFast.from_pretrained(HERE))
        return
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    train(model, tokenizer)
    print_scores(model, tokenizer)
    model.config.auto_map = {
        "AutoConfig": "modeling_characters.CharactersConfig",
        "AutoModelForCausalLM": "modeling_characters.CharactersForCausalLM",
    }
    model.save_pretrained(HERE)
    tokenizer.save_pretrained(HERE)


if __name__ == "__main__":
    main()
