"""Train the small Gemma 3 of the example site: five layers with a sliding window, and one that sees everything.

    python example_site/models/windows/train.py            # about five minutes on one core
    python example_site/models/windows/train.py --scores   # only score the weights that are here

**What.** A Gemma 3 of transformers' own classes: 6 layers of 4 heads, 48 dimensions, 64 positions. As in the models of
Google, five layers of six have a sliding window, here of 8 tokens, and the last one sees all tokens before.

**On what.** The texts of the model `induction`, whose script makes them: word lists in which earlier stretches come
back, and stories that are told again and again. What comes back is mostly further away than 8 tokens, so that only the
last layer can find it.

The result depends on the seed and on nothing else: one thread, deterministic algorithms. Another processor or another
version of torch may sum in another order and give slightly other weights.

Gemma Team 2025, "Gemma 3 Technical Report", https://arxiv.org/abs/2503.19786
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import torch
from torch.nn.functional import cross_entropy
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))
from training_loop import Losses, adamw, descend, reproduce  # noqa: E402

SEED = 0
WINDOW = 8
STEPS = 1200
LEARNING_RATE = 4e-3


def induction() -> ModuleType:
    """Return the script of the model `induction`, which has the words and makes the texts."""
    spec = importlib.util.spec_from_file_location("induction", HERE.parent / "induction" / "train.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.BATCH = 32
    return script


def make_model(tokenizer: PreTrainedTokenizerFast) -> Gemma3ForCausalLM:
    torch.manual_seed(SEED)
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        query_pre_attn_scalar=12,
        max_position_embeddings=64,
        sliding_window=WINDOW,
        layer_types=["sliding_attention"] * 5 + ["full_attention"],
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=None,
    )
    return Gemma3ForCausalLM(config)


def losses(model: Gemma3ForCausalLM, texts: ModuleType, tokenizer: PreTrainedTokenizerFast) -> Losses:
    """Yield the loss of each batch."""
    for tokens, labels in texts.batches(tokenizer.get_vocab(), texts.read_words()):
        logits = model(tokens, use_cache=False).logits[:, :-1]
        loss = cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=texts.NOT_COUNTED)
        yield loss, f"loss {loss.item():.2f}"


def train(model: Gemma3ForCausalLM, texts: ModuleType, tokenizer: PreTrainedTokenizerFast) -> None:
    optimizer = adamw(model, LEARNING_RATE)
    descend(losses(model, texts, tokenizer), optimizer, steps=STEPS, falling=0.4, every=100)


@torch.no_grad()
def print_scores(model: Gemma3ForCausalLM, texts: ModuleType, tokenizer: PreTrainedTokenizerFast) -> None:
    """Print how often the next word is right in the second copy of a stretch, and each head's weight on what followed
    last time, further away than the window."""
    model.eval().set_attn_implementation("eager")  # the only one that returns the weights
    right, heads = [], []
    for tokens, second, distance in texts.unseen_repeats(tokenizer):
        if distance - 1 < WINDOW:
            continue
        output = model(tokens[None], output_attentions=True)
        again = torch.arange(second, len(tokens) - 1)
        right.append((output.logits[0, again].argmax(-1) == tokens[again + 1]).float())
        weights = torch.cat(output.attentions)  # (layer, head, from, to)
        heads.append(weights[:, :, again, again - distance + 1].mean(-1))
    print(f"\nnext word right in the second copy: {torch.cat(right).mean():.1%}\n")
    print("layer  head   induction")
    for layer, row in enumerate(torch.stack(heads).mean(0).tolist()):
        for head, score in enumerate(row):
            print(f"{layer:5}  {head:4}   {score:9.2f}")


def main() -> None:
    reproduce()
    texts = induction()
    tokenizer = texts.make_tokenizer(texts.read_words())
    if "--scores" in sys.argv[1:]:
        model = Gemma3ForCausalLM.from_pretrained(HERE)
    else:
        model = make_model(tokenizer)
        train(model, texts, tokenizer)
        model.save_pretrained(HERE)
        tokenizer.save_pretrained(HERE)
    print_scores(model, texts, tokenizer)


if __name__ == "__main__":
    main()
