"""Train eighteen tiny language models whose sublayers stand in other orders, and write their losses.

    python example_site/models/sandwich/sweep.py            # about ten minutes on one core
    python example_site/models/sandwich/sweep.py --steps 20  # only to see that it runs; writes nothing

**What.** Press, Smith & Levy 2020 ("Improving Transformer Models by Reordering their Sublayers") move attention
towards the input and feed-forward layers towards the output: `s^k (sf)^(n−k) f^k`, the sandwich. Here n = 6, so there
are 12 sublayers, k runs from 0 (the usual order) to 5, and each order is trained from three seeds. All models have the
same sublayers, so the same number of parameters; only the order differs. They are pre-norm, causal, with ReLU, as the
paper's baseline is.

**On what.** Characters of the language reference that every Python brings along (`pydoc_data.topics`). One topic in
ten is kept for the test, chosen by its name. The text differs a little between versions of Python; the version and the
text's digest are written beside the losses.

**Small models need not show the effect.** The paper's models have 32 sublayers of 1,024 dimensions and read 100 million
words. These have 12 of 48 dimensions and read a million characters.

The result depends on the seeds, on the text and on the processor's order of sums: one thread, deterministic algorithms.

Press et al. 2020: https://aclanthology.org/2020.acl-main.270/
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy, relu, scaled_dot_product_attention

HERE = Path(__file__).resolve().parent
SUBLAYERS = 6  # of each kind: n in the paper
DIMENSIONS, HEADS, LENGTH = 48, 4, 64
BATCH, STEPS, LEARNING_RATE = 32, 500, 4e-3
SEEDS = (0, 1, 2)


# ---- text ------------------------------------------------------------------------------------------------------------


def texts() -> tuple[str, str]:
    """The text to learn from, and the text to be tested on."""
    from pydoc_data.topics import topics

    parts: tuple[list[str], list[str]] = ([], [])
    for name in sorted(topics):
        parts[hashlib.sha256(name.encode()).digest()[0] < 26].append(topics[name])
    train, test = ("\n".join(part) for part in parts)
    return train, test


def batches(ids: torch.Tensor, seed: int) -> torch.Tensor:
    """Stretches of LENGTH + 1 characters, (STEPS, BATCH, LENGTH + 1), the same for every order of one seed."""
    starts = torch.randint(len(ids) - LENGTH - 1, (STEPS, BATCH), generator=torch.Generator().manual_seed(seed))
    return ids[starts[..., None] + torch.arange(LENGTH + 1)]


# ---- models ----------------------------------------------------------------------------------------------------------


def sandwich(k: int) -> str:
    """s^k (sf)^(n−k) f^k."""
    return "s" * k + "sf" * (SUBLAYERS - k) + "f" * k


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(DIMENSIONS, 3 * DIMENSIONS)
        self.out = nn.Linear(DIMENSIONS, DIMENSIONS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, T, D)
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)  # (B, H, T, D / H) each
        return self.out(scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(DIMENSIONS, 4 * DIMENSIONS)
        self.down = nn.Linear(4 * DIMENSIONS, DIMENSIONS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(relu(self.up(x)))


class LanguageModel(nn.Module):
    """A causal model whose sublayers stand in a given order; each is x + sublayer(norm(x))."""

    def __init__(self, order: str, characters: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(characters, DIMENSIONS)
        self.positions = nn.Embedding(LENGTH, DIMENSIONS)
        self.sublayers = nn.ModuleList(Attention() if letter == "s" else FeedForward() for letter in order)
        self.norms = nn.ModuleList(nn.LayerNorm(DIMENSIONS) for _ in order)
        self.norm = nn.LayerNorm(DIMENSIONS)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.05)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        for sublayer, norm in zip(self.sublayers, self.norms, strict=True):
            x = x + sublayer(norm(x))
        return self.norm(x) @ self.tokens.weight.T


def train(order: str, seed: int, ids: torch.Tensor, characters: int, steps: int) -> LanguageModel:
    torch.manual_seed(seed)
    model = LanguageModel(order, characters)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / 50, 1, max(0.02, (steps - step) / (0.5 * steps)))
    )
    for stretches in batches(ids, seed)[:steps]:
        loss = loss_of(model, stretches)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
    return model


def loss_of(model: LanguageModel, stretches: torch.Tensor) -> torch.Tensor:
    """Nats per character."""
    return cross_entropy(model(stretches[:, :-1]).flatten(0, 1), stretches[:, 1:].flatten())


@torch.no_grad()
def test(model: LanguageModel, ids: torch.Tensor) -> float:
    """Nats per character over the whole test text, in stretches side by side."""
    count = (len(ids) - 1) // LENGTH
    stretches = torch.stack([ids[n * LENGTH : (n + 1) * LENGTH + 1] for n in range(count)])
    return sum(float(loss_of(model, part)) * len(part) for part in stretches.split(128)) / count


# ---- sweep -----------------------------------------------------------------------------------------------------------


def main(steps: int) -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    learned, tested = texts()
    number = {character: n for n, character in enumerate(sorted(set(learned + tested)))}
    ids, test_ids = (torch.tensor([number[character] for character in text]) for text in (learned, tested))
    print(f"{len(ids):,} characters to learn from, {len(test_ids):,} to be tested on, {len(number)} different")
    runs, start = {}, time.monotonic()
    for seed in SEEDS:  # all orders of one seed, then the next: a run that is cut off still compares orders
        for k in range(SUBLAYERS):
            loss = test(train(sandwich(k), seed, ids, len(number), steps), test_ids)
            runs.setdefault(k, []).append(round(loss, 4))
            print(f"seed {seed}   k {k}   {sandwich(k)}   {loss:.4f}   {time.monotonic() - start:5.0f} s", flush=True)
    if steps < STEPS:
        return
    found = {
        "unit": "nats per character",
        "text": {
            "name": f"pydoc_data.topics of Python {platform.python_version()}",
            "sha256": hashlib.sha256((learned + tested).encode()).hexdigest(),
            "learned": len(ids),
            "tested": len(test_ids),
        },
        "parameters": sum(parameter.numel() for parameter in LanguageModel(sandwich(0), len(number)).parameters()),
        "steps": steps,
        "seeds": list(SEEDS),
        "runs": [{"k": k, "order": sandwich(k), "losses": losses} for k, losses in runs.items()],
    }
    (HERE / "results.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=STEPS)
    main(parser.parse_args().steps)
