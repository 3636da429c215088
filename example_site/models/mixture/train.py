"""Train the small mixture of experts of the example site, whose routers tell words from digits.

    python example_site/models/mixture/train.py            # about five minutes on one core
    python example_site/models/mixture/train.py --scores   # only score the weights that are here

**What.** A Mixtral of transformers' own classes: 4 layers, each with 8 experts of which a router chooses 2 for every
token, 64 dimensions, 64 positions, one token per word or digit. The script writes the weights, the tokenizer and their
configurations beside itself, and prints how many of the choices of each expert fall on digits.

**On what.** Two kinds of sentence that `texts.py` makes, mixed at random in one text: prose ("the old miller sold nine
apples to a sailor .") and sums ("4 7 + 1 8 = 6 5 ."). Number words stand in prose, so that meaning alone does not tell
the two apart.

**Why experts differ.** Nothing tells a router which expert is for what. The loss has one term beside that of the next
token: the balance of Fedus et al. (2022), equation 4, which is least if all experts get as many tokens. So the router
must share the tokens out, and it costs least to put together those that need the same computation.

The result depends on the seed and on nothing else: one thread, deterministic algorithms. Another processor or another
version of torch may sum in another order and give slightly other weights.

Jiang et al. 2024, "Mixtral of Experts", https://arxiv.org/abs/2401.04088
Fedus et al. 2022, "Switch Transformers", https://arxiv.org/abs/2101.03961
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from texts import mixed_text, vocabulary
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import MixtralConfig, MixtralForCausalLM, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from training_loop import Losses, adamw, descend, reproduce  # noqa: E402

SEED = 0
LENGTH = 64  # positions of the model and tokens of each training text
BATCH = 32
STEPS = 1500
LEARNING_RATE = 3e-3
BALANCE = 0.02  # the weight of the balance in the loss


# ---- tokens ----------------------------------------------------------------------------------------------------------


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word, digit or sign, lower case."""
    numbers = {token: number for number, token in enumerate(["<pad>", "<unk>", *vocabulary()])}
    tokenizer = Tokenizer(WordLevel(numbers, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.Split("=", "isolated"),
            pre_tokenizers.Split("+", "isolated"),
            pre_tokenizers.Punctuation(),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", model_max_length=LENGTH
    )


def batches(tokenizer: PreTrainedTokenizerFast, seed: int | str) -> Iterator[torch.Tensor]:
    """Token ids, (BATCH, LENGTH)."""
    rng = random.Random(seed)
    while True:
        texts = [mixed_text(rng, LENGTH) for _ in range(BATCH)]
        yield torch.tensor([tokenizer.convert_tokens_to_ids(text) for text in texts])


# ---- model -----------------------------------------------------------------------------------------------------------


def make_model(tokenizer: PreTrainedTokenizerFast) -> MixtralForCausalLM:
    torch.manual_seed(SEED)
    config = MixtralConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=LENGTH,
        hidden_size=64,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        num_local_experts=8,
        num_experts_per_tok=2,
        router_aux_loss_coef=BALANCE,
        sliding_window=None,
        initializer_range=0.05,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="eager",
    )
    return MixtralForCausalLM(config)


def losses(model: MixtralForCausalLM, tokenizer: PreTrainedTokenizerFast) -> Losses:
    """Yield the loss of each batch."""
    for ids in batches(tokenizer, SEED):
        output = model(input_ids=ids, labels=ids, output_router_logits=True)
        yield output.loss, f"loss {output.loss.item():.3f}   balance {output.aux_loss.item():.3f}"


def train(model: MixtralForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    model.train()
    descend(losses(model, tokenizer), adamw(model, LEARNING_RATE), steps=STEPS, every=150)


# ---- scores ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def print_scores(model: MixtralForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Print the loss on new texts, and for each expert the share of its tokens that are digits or signs."""
    model.eval()
    ids = torch.cat(list(islice(batches(tokenizer, "scores"), 8)))
    output = model(input_ids=ids, labels=ids, output_router_logits=True)
    print(f"loss on new texts: {output.loss.item() - BALANCE * output.aux_loss.item():.3f} nats a token")
    sums = torch.tensor([token in "0123456789+=" for token in tokenizer.convert_ids_to_tokens(ids.flatten().tolist())])
    print(f"digits and signs: {sums.float().mean():.0%} of the tokens")
    for layer, logits in enumerate(output.router_logits):
        chosen = logits.topk(2, dim=-1).indices
        print(f"layer {layer}: " + "   ".join(_expert(chosen, sums, expert) for expert in range(8)))


def _expert(chosen: torch.Tensor, sums: torch.Tensor, expert: int) -> str:
    """Return an expert's number, the share of tokens that it got, and the share of digits and signs among them."""
    got = (chosen == expert).any(-1)
    return f"{expert}: {got.float().mean():.0%}, {sums[got].float().mean():.0%}"


def main(arguments: Sequence[str]) -> None:
    reproduce()
    if "--scores" in arguments:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(HERE)
        model = MixtralForCausalLM.from_pretrained(HERE)
    else:
        tokenizer = make_tokenizer()
        model = make_model(tokenizer)
        train(model, tokenizer)
        model.save_pretrained(HERE)
        tokenizer.save_pretrained(HERE)
    print_scores(model, tokenizer)


if __name__ == "__main__":
    main(sys.argv[1:])
