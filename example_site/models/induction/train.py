"""Train the small GPT-2 of the example site, in which an induction head can be seen.

WORK IN PROGRESS
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

HERE = Path(__file__).parent
SEED = 0
LENGTH = 64  # positions of the model, and tokens of every training text
BATCH = 64
STEPS = 3000
LEARNING_RATE = 3e-3


def read_words() -> dict[str, list[str]]:
    lines = (HERE / "words.txt").read_text(encoding="utf-8").splitlines()
    kinds = (line.split(": ", 1) for line in lines if not line.startswith("#"))
    return {kind: words.split() for kind, words in kinds}


def make_tokenizer(words) -> PreTrainedTokenizerFast:
    vocabulary = ["<pad>", "<unk>"] + [word for kind in words.values() for word in kind]
    ids = {word: number for number, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(WordLevel(ids, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", model_max_length=LENGTH
    )


def word_list(rng, words):
    every = [w for kind in words.values() for w in kind] + ["<unk>"]
    fresh = iter(rng.sample(every, LENGTH))
    text = [next(fresh) for _ in range(rng.randint(2, 24))]
    while len(text) < LENGTH:
        if rng.random() < 0.7:
            start = rng.randrange(len(text) - 1)
            text += text[start:start + rng.randint(2, 24)]
        else:
            text += [next(fresh) for _ in range(min(rng.randint(1, 8), LENGTH - len(text)))]
    return text[:LENGTH]


def clause(rng, words, subject):
    pick = lambda kind: rng.choice(words[kind])
    maybe = lambda kind, p=0.5: [pick(kind)] if rng.random() < p else []
    if subject in words["name"]:
        head = [subject]
    else:
        head = ["the", *maybe("adjective", 0.3), subject]
    if rng.random() < 0.6:
        return [*head, *maybe("adverb"), pick("motion"), pick("preposition"), "the", *maybe("adjective", 0.2), pick("place")]
    return [*head, *maybe("adverb"), pick("action"), rng.choice(["the", "a"]), *maybe("adjective", 0.3), pick("thing")]


def story(rng, words):
    subjects = rng.sample(words["animal"] + words["person"] + words["name"], 4)
    clauses = [clause(rng, words, s) for s in subjects[:rng.randint(1, 4)]]
    text = []
    while len(text) < LENGTH:
        text += rng.choice(clauses)
        text += rng.choice([["."], ["and"], [",", "and"], ["while"], ["but"], ["then"], [";"]])
    return text[:LENGTH]


def batches(tokenizer, words):
    rng = random.Random(SEED)
    ids = tokenizer.get_vocab()
    while True:
        texts = [(story if rng.random() < 0.4 else word_list)(rng, words) for _ in range(BATCH)]
        yield torch.tensor([[ids[w] for w in t] for t in texts])


def make_model(size, pad):
    return GPT2LMHeadModel(GPT2Config(
        vocab_size=size, n_positions=LENGTH, n_embd=64, n_layer=2, n_head=4,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        bos_token_id=None, eos_token_id=None, pad_token_id=pad))


@torch.no_grad()
def repeats(size, count=256, seed=1):
    """Unseen: before, segment, between, the same segment."""
    g = torch.Generator().manual_seed(seed)
    out = []
    for _ in range(count):
        ids = torch.randperm(size - 1, generator=g)[:LENGTH] + 1
        n = int(torch.randint(4, 21, (), generator=g))
        a = int(torch.randint(0, 11, (), generator=g))
        b = int(torch.randint(0, 11, (), generator=g))
        out.append((torch.cat([ids[:a + n + b], ids[a:a + n]]), a, n, b))
    return out


@torch.no_grad()
def scores(model, size):
    model.eval()
    model.set_attn_implementation("eager")
    prev = ind = 0; first = 0; right = total = 0
    sets = repeats(size)
    for ids, a, n, b in sets:
        o = model(ids[None], output_attentions=True)
        w = torch.stack(o.attentions)[:, 0]  # L H T T
        T = len(ids)
        i = torch.arange(T)
        prev = prev + w[:, :, i[1:], i[:-1]].mean(-1)
        q = torch.arange(a + n + b, T - 1)
        ind = ind + w[:, :, q, q - (n + b) + 1].mean(-1)
        f = torch.arange(1, a + n + b)
        first = first + w[:, :, f, 0].mean(-1)
        guess = o.logits[0, q].argmax(-1)
        right += (guess == ids[q + 1]).sum(); total += len(q)
    k = len(sets)
    model.train()
    model.set_attn_implementation("sdpa")
    return right / total, prev / k, ind / k, first / k


def main():
    import sys
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    words = read_words()
    tok = make_tokenizer(words)
    size = len(tok)
    model = make_model(size, tok.pad_token_id)
    print(size, sum(p.numel() for p in model.parameters()))
    opt = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.1)
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, LEARNING_RATE, STEPS, pct_start=0.05)
    t = time.time()
    run = 0
    for step, ids in zip(range(1, STEPS + 1), batches(tok, words)):
        loss = model(ids, labels=ids).loss
        opt.zero_grad(); loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step(); sched.step()
        if step % 100 == 0:
            acc, p, i, f = scores(model, size)
            print(step, round(loss.item(), 3), f"{time.time()-t:.0f}s acc {acc:.3f}", "prev", (p[0]*100).int().tolist(), "ind", (i[1]*100).int().tolist(), "first", (f[1]*100).int().tolist(), flush=True)
    model.save_pretrained("/tmp/ind"); tok.save_pretrained("/tmp/ind")

main()
