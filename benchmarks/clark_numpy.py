"""The measures of Clark et al. (2019) once more, in plain NumPy and one text at a time, to check `view: heads` by.

It was written from the paper and imports nothing of mkdocs_attnviz: texts are read, aligned and run by code of its own.
Attention is that of transformers' `output_attentions`, in float64 from then on.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np


def sentences(path: Path) -> list[dict]:
    """The sentences of a CoNLL-U file: text, spans of words, heads and relations."""
    found = []
    for chunk in path.read_text("utf-8").split("\n\n"):
        lines = chunk.strip("\n").split("\n")
        text = next((line[9:] for line in lines if line.startswith("# text = ")), None)
        rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
        if text is None or not rows:
            continue
        spans, at, until = {}, 0, 0
        for row in rows:
            if "." in row[0]:
                continue
            number = row[0].split("-")
            if len(number) == 1 and int(number[0]) <= until:
                continue
            start = text.index(row[1], at)
            at = start + len(row[1])
            if len(number) == 1:
                spans[int(number[0])] = (start, at)
                continue
            until = int(number[1])
            members = [other for other in rows if other[0].isdigit() and int(number[0]) <= int(other[0]) <= until]
            split = "".join(other[1] for other in members).lower() == row[1].lower()
            for other in members:
                spans[int(other[0])] = (start, start + len(other[1])) if split else (start, at)
                start += len(other[1]) if split else 0
        words = [row for row in rows if row[0].isdigit()]
        found.append(
            {
                "text": text,
                "spans": [spans[int(row[0])] for row in words],
                "heads": [int(row[6]) for row in words],
                "relations": [row[7] for row in words],
            }
        )
    return found


def shares(tokens: list[str], attention: np.ndarray, special: list[int]) -> dict[str, np.ndarray]:
    """Return where each head looks, of attention (layers, heads, n, n); every share is of all attention."""
    n = len(tokens)
    masks = {"self": np.eye(n), "next": np.eye(n, k=1), "previous": np.eye(n, k=-1)}
    columns = {
        "first": [0],
        "cls": [i for i, token in enumerate(tokens) if token == "[CLS]"],
        "sep": [i for i, token in enumerate(tokens) if token == "[SEP]"],
        "special": special,
        "punctuation": [i for i, token in enumerate(tokens) if token in (".", ",")],
    }
    for name, positions in columns.items():
        masks[name] = np.zeros((n, n))
        masks[name][:, positions] = 1
    masks["distance"] = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    return {name: (attention * mask).sum((2, 3)) / n for name, mask in masks.items()}


def entropies(attention: np.ndarray) -> dict[str, np.ndarray]:
    """The mean entropy of the rows, and the first row's."""
    n = attention.shape[-1]
    smooth = 0.9999 * attention + 0.0001 / n
    rows = -(smooth * np.log(smooth)).sum(-1)
    return {"entropy": rows.mean(-1), "entropy_cls": rows[..., 0]}


def scores(ids: list[int], special: list[int], attention: np.ndarray) -> dict[str, np.ndarray]:
    """The scores of TransformerLens's detection patterns: the mean weight on a pattern, over rows that have one."""
    n = len(ids)
    rows: dict[str, dict[int, list[int]]] = {"previous_token": {i: [i - 1] for i in range(1, n)}}
    rows |= {"duplicate": {}, "induction": {}}
    for i in range(n):
        same = [j for j in range(i) if ids[j] == ids[i] and i not in special and j not in special]
        if same:
            rows["duplicate"][i] = same
            rows["induction"][i] = [j + 1 for j in same]
    return {
        name: np.mean([attention[:, :, i, columns].sum(-1) for i, columns in pattern.items()], axis=0)
        for name, pattern in rows.items()
        if pattern
    }


def divergence(attention: np.ndarray) -> np.ndarray:
    """Jensen–Shannon divergences between all heads, summed over rows."""
    n = attention.shape[-1]
    flat = 0.999 * attention.reshape(-1, n, n) + 0.001 / n
    result = np.zeros((len(flat), len(flat)))
    for one, head in enumerate(flat):
        mean = (head + flat) / 2
        result[one] = ((head * np.log(head / mean) + flat * np.log(flat / mean)) / 2).sum((1, 2))
    return result


def word_attention(attention: np.ndarray, offsets: list[tuple[int, int]], spans: list[tuple[int, int]]) -> np.ndarray:
    """Attention from word to word: to a word summed over its tokens, from a word averaged."""
    tokens: list[list[int]] = [[] for _ in spans]
    overlapping: list[list[int]] = [[] for _ in spans]
    for token, (start, end) in enumerate(offsets):
        if end <= start:
            continue
        overlap = [min(end, stop) - max(start, begin) for begin, stop in spans]
        for word, size in enumerate(overlap):
            if size > 0:
                overlapping[word].append(token)
        if max(overlap) > 0:
            tokens[int(np.argmax(overlap))].append(token)
    tokens = [own or shared for own, shared in zip(tokens, overlapping, strict=True)]
    to = np.stack([attention[..., word].sum(-1) for word in tokens], -1)
    return np.stack([to[..., word, :].mean(-2) for word in tokens], -2)


def found(words: np.ndarray, heads: list[int], relations: list[str]) -> dict[str, np.ndarray]:
    """Count the words of each relation that a head finds forward and backward, and all of them, (3, layers, heads)."""
    count = len(heads)
    words = words * (1 - np.eye(count))
    guesses = words.argmax(-1), words.argmax(-2)
    result: dict[str, np.ndarray] = defaultdict(lambda: np.zeros((3, *words.shape[:2])))
    for word, (head, relation) in enumerate(zip(heads, relations, strict=True)):
        if relation.split(":")[0] in ("root", "punct"):
            continue
        right = [guess[..., word] == head - 1 for guess in guesses]
        result[relation] += np.stack([*right, np.ones(words.shape[:2])])
    return dict(result)


def baselines(parsed: list[dict]) -> dict[str, tuple[int, float]]:
    """The best fixed offset for each relation, and its accuracy."""
    right: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(6))
    total: dict[str, int] = defaultdict(int)
    for sentence in parsed:
        count = len(sentence["heads"])
        for word, (head, relation) in enumerate(zip(sentence["heads"], sentence["relations"], strict=True), 1):
            total[relation] += 1
            right[relation] += [max(0, min(word + offset, count)) == head for offset in range(-3, 3)]
    return {name: (int(right[name].argmax()) - 3, right[name].max() / total[name]) for name in total}


class Model:
    """A model of transformers and its tokenizer, which run one text at a time."""

    def __init__(self, tokenizer, model) -> None:
        self.tokenizer, self.model = tokenizer, model

    def attention(self, text: str) -> tuple[dict, np.ndarray]:
        """The tokenizer's output, and attention (layers, heads, n, n)."""
        import torch

        encoded = self.tokenizer(
            text, return_tensors="pt", return_offsets_mapping=True, return_special_tokens_mask=True
        )
        inputs = {name: encoded[name] for name in ("input_ids", "attention_mask")}
        with torch.inference_mode():
            layers = self.model(**inputs, output_attentions=True).attentions
        ids = encoded["input_ids"][0].tolist()
        about = {
            "ids": ids,
            "tokens": self.tokenizer.convert_ids_to_tokens(ids),
            "offsets": [tuple(pair) for pair in encoded["offset_mapping"][0].tolist()],
            "special": [i for i, flag in enumerate(encoded["special_tokens_mask"][0].tolist()) if flag],
        }
        return about, torch.stack(layers)[:, 0].double().numpy()
