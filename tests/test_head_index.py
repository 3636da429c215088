"""The index of all heads: its numbers against the paper's formulas in plain NumPy, and how texts stream into it."""

import re
import sys
import zlib
from dataclasses import asdict

import numpy as np
import pytest
import test_capture
import torch
from conftest import INDUCTION, MINILM, ROOT
from test_capture import GROUPED, ref

sys.path.insert(0, str(ROOT / "benchmarks"))
import clark_numpy

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.cache.entry_schema import unusable
from mkdocs_attnviz.models.captures import head_batch, head_relations, heads
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.captures.corpus import Corpus
from mkdocs_attnviz.models.captures.head_examples import Clearest
from mkdocs_attnviz.models.captures.head_map import cells, divergences, place
from mkdocs_attnviz.models.captures.head_measures import Masks, Sides
from mkdocs_attnviz.models.engine.capture import Capture
from mkdocs_attnviz.models.engine.client import Captured, Refused
from mkdocs_attnviz.models.engine.inline import InlineWorker
from mkdocs_attnviz.models.engine.request import Request
from mkdocs_attnviz.models.inputs.corpus_file import read_corpus
from mkdocs_attnviz.models.inputs.corpus_text import CorpusText
from mkdocs_attnviz.models.inputs.tokens import Tokens
from mkdocs_attnviz.models.loading.load import load

make_model, tokenizer_folder = test_capture.make_model, test_capture.tokenizer_folder
EN_DE = str(ROOT / "example_site" / "models" / "en-de")
HEADS = Capture("heads", 1, run="mkdocs_attnviz.models.captures.heads:capture", corpus=True)
TREEBANK = """\
# text = The old cats don't chase the grey mouse, and the mouse sleeps.
1	The	_	_	_	_	3	det	_	_
2	old	_	_	_	_	3	amod	_	_
3	cats	_	_	_	_	6	nsubj	_	_
4-5	don't	_	_	_	_	_	_	_	_
4	do	_	_	_	_	6	aux	_	_
5	n't	_	_	_	_	6	advmod	_	_
6	chase	_	_	_	_	0	root	_	_
7	the	_	_	_	_	9	det	_	_
8	grey	_	_	_	_	9	amod	_	_
9	mouse	_	_	_	_	6	obj	_	SpaceAfter=No
10	,	_	_	_	_	14	punct	_	_
11	and	_	_	_	_	14	cc	_	_
12	the	_	_	_	_	13	det	_	_
13	mouse	_	_	_	_	14	nsubj	_	_
14	sleeps	_	_	_	_	6	conj	_	SpaceAfter=No
15	.	_	_	_	_	6	punct	_	_

# text = Transcendentalists wrote unforgettable letters to the editor.
1	Transcendentalists	_	_	_	_	2	nsubj	_	_
2	wrote	_	_	_	_	0	root	_	_
3	unforgettable	_	_	_	_	4	amod	_	_
4	letters	_	_	_	_	2	obj	_	_
5	to	_	_	_	_	7	case	_	_
6	the	_	_	_	_	7	det	_	_
7	editor	_	_	_	_	4	nmod	_	SpaceAfter=No
8	.	_	_	_	_	2	punct	_	_

# text = She sleeps.
1	She	_	_	_	_	2	nsubj	_	_
2	sleeps	_	_	_	_	0	root	_	SpaceAfter=No
3	.	_	_	_	_	2	punct	_	_
"""


def lines(*texts):
    """Return the inputs of a request for these texts."""
    texts = [asdict(CorpusText(text, number)) for number, text in enumerate(texts, 1)]
    return {"corpus": {"digest": "sha256:0", "texts": texts}}


def captured(loaded, inputs, batch_size=4, max_tokens=512, parameters=None):
    corpus = Corpus(loaded, inputs, max_tokens, batch_size)
    (entry,) = heads.capture(Context(loaded, (), parameters or {}, None, corpus))
    assert not unusable(entry.meta, entry.blobs)
    return entry


@pytest.fixture(scope="module")
def minilm():
    return load(ref(MINILM), "cpu")


@pytest.fixture(scope="module")
def treebank(tmp_path_factory):
    path = tmp_path_factory.mktemp("treebank") / "cats.conllu"
    path.write_text(TREEBANK)
    return path


def maps(counts, seed=0, heads_of_layer=3):
    """Return random attention in a padded batch, as float32: some rows sharp, padding filled with nonsense."""
    generator = torch.Generator().manual_seed(seed)
    longest = max(counts)
    weights = torch.rand((len(counts), heads_of_layer, longest, longest), generator=generator)
    for number, count in enumerate(counts):
        scores = (
            torch.randn((heads_of_layer, count, count), generator=generator) * torch.tensor([0.1, 3, 30])[:, None, None]
        )
        weights[number, :, :count, :count] = scores.softmax(-1)
    return weights


def text_of(names):
    ids = [101 if name == "[CLS]" else 102 if name == "[SEP]" else sum(map(ord, name)) for name in names]
    special = [place for place, name in enumerate(names) if name.startswith("[")]
    return Tokens(ids, None, names, names, special, None, [None] * len(names))


TEXTS = [
    text_of(["[CLS]", "red", ",", "green", "red", "green", "blue", ",", "red", ".", "[SEP]"]),
    text_of(["[CLS]", "no", "no", "[SEP]"]),
    text_of(["[CLS]", "one", "[SEP]"]),
]


def test_measures_are_those_of_the_paper():
    counts = [len(text.ids) for text in TEXTS]
    weights = maps(counts)
    masks = Masks(Sides(TEXTS, TEXTS, True, False, 101, 102, torch.device("cpu")))
    measured = masks.measured(masks.clean(weights))
    for number, (text, count) in enumerate(zip(TEXTS, counts, strict=True)):
        attention = weights[number, :, :count, :count].double().numpy()[None]
        expected = clark_numpy.shares(text.tokens, attention, text.special) | clark_numpy.entropies(attention)
        expected |= clark_numpy.scores(text.ids, text.special, attention)
        assert {name for name, known in masks.known.items() if known[number]} == set(expected)
        for name, values in expected.items():
            assert np.abs(values[0] - measured[name][number].numpy()).max() < 1e-6, name
        assert masks.uniform_entropy[number] == pytest.approx(np.log(count))


@pytest.mark.parametrize("causal", [False, True])
def test_divergences_are_those_of_the_paper(causal):
    counts = [len(text.ids) for text in TEXTS]
    layers = [maps(counts, seed) for seed in range(2)]
    if causal:
        layers = [weights.tril() / weights.tril().sum(-1, keepdim=True) for weights in layers]
    masks = Masks(Sides(TEXTS, TEXTS, True, causal, 101, 102, torch.device("cpu")))
    found = divergences([cells(masks.clean(weights), masks, [0, 1, 2]) for weights in layers])
    expected = sum(
        clark_numpy.divergence(np.stack([weights[number, :, :count, :count].double().numpy() for weights in layers]))
        for number, count in enumerate(counts)
    )
    assert np.abs(found - expected).max() < 1e-6 * expected.max()
    only_two = divergences([cells(masks.clean(weights), masks, [0, 2]) for weights in layers])
    assert (only_two < found)[~np.eye(6, dtype=bool)].all()


def test_the_map_has_as_little_stress_as_scikit_learns():
    from sklearn.manifold import MDS

    points = np.random.default_rng(0).gamma(1.0, size=(40, 5))
    distances = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1)) ** 1.5
    ours, stress = place(distances)
    settings = {"n_init": 4, "max_iter": 1000, "eps": 1e-9, "random_state": 0, "normalized_stress": True}
    theirs = MDS(metric="precomputed", init="random", **settings).fit(distances)
    assert stress <= 1.02 * theirs.stress_
    between = np.sqrt(((ours[:, None] - ours[None]) ** 2).sum(-1))
    assert stress == pytest.approx(np.sqrt((np.triu(between - distances) ** 2).sum() / (np.triu(distances) ** 2).sum()))
    assert np.array_equal(ours, place(distances.copy())[0])
    plane = points[:, :2]
    exact = np.sqrt(((plane[:, None] - plane[None]) ** 2).sum(-1))
    assert place(exact)[1] < 1e-3


def test_an_entry_is_the_mean_over_texts(minilm, treebank):
    """All of an entry, from transformers' own attention and code of its own, one text at a time."""
    entry = captured(minilm, {"corpus": read_corpus("cats.conllu", treebank)})
    index = entry.meta["heads"]
    stack = index["stacks"]["self"]
    parsed = clark_numpy.sentences(treebank)
    model = clark_numpy.Model(minilm.tokenizer, minilm.model)
    measures, counts, tokens = {}, {}, 0
    for sentence in parsed:
        about, attention = model.attention(sentence["text"])
        tokens += len(about["ids"])
        values = clark_numpy.shares(about["tokens"], attention, about["special"]) | clark_numpy.entropies(attention)
        values |= clark_numpy.scores(about["ids"], about["special"], attention)
        for name, value in values.items():
            measures.setdefault(name, []).append(value)
        words = clark_numpy.word_attention(attention, about["offsets"], sentence["spans"])
        for name, found in clark_numpy.found(words, sentence["heads"], sentence["relations"]).items():
            counts[name] = counts.get(name, 0) + found
    assert (index["texts"], index["tokens"], index["left_out_count"]) == (3, tokens, 0)
    assert set(stack["measures"]) == set(measures)
    for name, values in measures.items():
        assert np.abs(np.mean(values, axis=0) - stack["measures"][name]).max() < 2e-5, name
    baselines = clark_numpy.baselines(parsed)
    assert set(stack["relations"]) == {*counts, "all"}
    for name, found in counts.items():
        told = stack["relations"][name]
        assert told["count"] == found[2, 0, 0]
        assert (told["offset"], told["baseline"]) == (baselines[name][0], pytest.approx(baselines[name][1], abs=1e-5))
        for way, right in zip(("forward", "backward"), found[:2], strict=True):
            accuracy = np.array(told[way]["accuracy"])
            assert np.allclose(accuracy, right / found[2], atol=1e-5)
            assert (np.array(told[way]["low"]) <= accuracy).all()
            assert (accuracy <= np.array(told[way]["high"])).all()
    assert stack["relations"]["all"]["count"] == sum(found[2, 0, 0] for found in counts.values())


def test_words_and_their_tokens(minilm, treebank):
    corpus = Corpus(minilm, {"corpus": read_corpus("cats.conllu", treebank)}, 512, 1)
    texts = {}

    def look(batch):
        (reading,) = batch
        tokens = reading.example.text.tokens
        texts[reading.number] = [[tokens[place] for place in word] for word in head_relations.word_tokens(reading)]

    assert len(list(corpus.stream(look))) == 3
    assert texts[0][3:6] == [["don"], ["'", "t"], ["chase"]]  # of `don`, most is in `do`
    assert texts[1][0] == ["trans", "##cend", "##ental", "##ists"]
    assert texts[1][1] == ["wrote"]


def test_an_interval_covers_what_other_sentences_would_give():
    """The interval is that of a bootstrap that draws whole sentences, of which it only keeps sums."""
    generator = np.random.default_rng(1)
    sums = head_relations.RelationSums({"det": 0}, 2)
    size = generator.integers(1, 9, 300)
    right = np.stack([generator.binomial(size, 0.7), generator.binomial(size, 0.2)], 1)
    for start in range(0, 300, 20):
        scored, found = [], []
        for text in range(20):
            for word in range(size[start + text]):
                scored.append([text, word, word + 1, 0])
                found.append(word < right[start + text])
        words = head_relations.Words(torch.zeros(1), torch.zeros(1), np.array(scored))
        sums.add(range(start, start + 20), words, np.stack([found, found]), [9] * 20)
    told = sums.told()["det"]
    assert told["count"] == size.sum()
    drawn = generator.integers(0, 300, (4000, 300))
    expected = np.quantile(right[drawn].sum(1) / size[drawn].sum(1)[:, None], (0.025, 0.975), axis=0)
    assert np.abs(np.stack([told["forward"]["low"], told["forward"]["high"]]) - expected).max() < 0.01


def test_the_clearest_texts_are_the_first_of_all_sorted():
    generator = np.random.default_rng(2)
    scores = generator.integers(-3, 4, (2, 3, 90)).astype(np.float32) / 2  # with many equals
    scores[generator.random(scores.shape) < 0.6] = -np.inf
    scores[0, 0, 9:] = -np.inf  # fewer than are kept
    numbers, sizes = generator.permutation(90), generator.integers(5, 60, 90)
    penalties = np.where(sizes < 8, 1, np.where(sizes <= 40, 0, 1 + (sizes - 40) / 100)).astype(np.float32)
    clearest = Clearest(2, 3)
    for start in range(0, 90, 30):
        part = slice(start, start + 30)
        clearest.add(scores[:, :, part], numbers[part].tolist(), sizes[part].tolist())
    for pattern, head in np.ndindex(2, 3):
        some = [
            (-score, number)
            for score, number in zip(scores[pattern, head] - penalties, numbers.tolist(), strict=True)
            if score > -np.inf
        ]
        assert clearest.of(pattern, head) == [number for _, number in sorted(some)[:16]]


def test_induction_heads_are_found():
    loaded = load(ref(INDUCTION), "cpu")
    words = [word for word in ("red", "two", "blue", "three", "green", "one") if word in loaded.tokenizer.get_vocab()]
    texts = [" ".join([*words[number:], *words[:number]] * 2) for number in range(4)]
    stack = captured(loaded, lines(*texts)).meta["heads"]["stacks"]["self"]
    measures = stack["measures"]
    induction = np.array(measures["induction"][1])
    assert induction.max() > 0.5
    assert np.array(measures["previous_token"][0]).max() > 0.5
    assert "cls" not in measures
    assert stack["relations"] == {}


def test_an_encoder_decoder_has_three_stacks():
    loaded = load(ref(EN_DE), "cpu", head=True)
    texts = ["the old dog sees a cat", "a bird sings"]
    entry = captured(loaded, lines(*texts))
    stacks = entry.meta["heads"]["stacks"]
    assert set(stacks) == {"encoder", "decoder", "cross"}
    assert [stacks[name]["causal"] for name in ("encoder", "decoder", "cross")] == [False, True, False]
    assert "kv_heads" not in stacks["encoder"]
    assert "previous" in stacks["decoder"]["measures"]
    assert not {"previous", "self", "distance", "induction"} & set(stacks["cross"]["measures"])
    check_telling(entry)


def check_telling(entry):
    """Check that each layer's blob has the weights of its heads' texts, and no more."""
    for name, stack in entry.meta["heads"]["stacks"].items():
        rows, cols = {"cross": ("target", "text"), "decoder": ("target", "target")}.get(name, ("text", "text"))
        for layer, texts in zip(stack["layers"], stack["telling"], strict=True):
            content = zlib.decompress(entry.blobs[f"telling/{name}/{layer}"])
            at = 0
            for numbers in texts:
                assert 1 <= len(numbers) <= 3
                for number in numbers:
                    sequences = entry.meta["examples"][number]["sequences"]
                    shape = len(sequences[cols]["tokens"]), len(sequences[rows]["tokens"])
                    steps = np.frombuffer(content, np.uint8, shape[0] * shape[1], at).reshape(shape)
                    assert np.abs(np.square(steps / 255).sum(0) - 1).max() < 0.1
                    at += steps.size
            assert at == len(content)


def test_grouped_queries(make_model):
    loaded = load(ref(str(make_model("llama", **GROUPED))), "cpu")
    entry = captured(loaded, lines("a b c d", "d c b a", "h g a"))
    stack = entry.meta["heads"]["stacks"]["self"]
    assert (stack["heads"], stack["kv_heads"], stack["causal"]) == ([4, 4], [2, 2], True)
    check_telling(entry)


def test_one_text_is_a_corpus_of_one(minilm):
    one = captured(minilm, {"text": "The cat sat on the mat."})
    assert one.meta["heads"]["stacks"] == captured(minilm, lines("The cat sat on the mat.")).meta["heads"]["stacks"]
    assert [example["line"] for example in one.meta["examples"]] == [None]
    check_telling(one)
    with pytest.raises(WrongValue, match="`max_tokens` is 4"):
        captured(minilm, {"text": "The cat sat on the mat."}, max_tokens=4)


def test_texts_that_are_too_long_are_left_out_and_counted(minilm):
    entry = captured(
        minilm, lines("Too long a text for this.", "A cat.", *["Another text that is too long."] * 30), max_tokens=5
    )
    index = entry.meta["heads"]
    assert (index["texts"], index["left_out_count"], len(index["left_out"])) == (1, 31, 20)
    assert index["left_out"][0] == {"line": 1, "why": "The text has 9 tokens; `max_tokens` is 5."}
    with pytest.raises(
        WrongValue, match=r"^None of the corpus's 1 texts could be read. The first: The text has 9 tokens"
    ):
        captured(minilm, lines("Too long a text for this."), max_tokens=5)


def test_batches_are_halved_when_memory_runs_out(minilm):
    texts = [f"Text number {number} {'again ' * number}" for number in range(11)]
    corpus = Corpus(minilm, lines(*texts), 512, 8, tell=lambda done, all_texts: told.append((done, all_texts)))
    told, sizes, before = [], [], minilm.fits

    def measure(batch):
        sizes.append(len(batch))
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return [reading.number for reading in batch]

    try:
        numbers = [number for some in corpus.stream(measure) for number in some]
    finally:
        minilm.fits = before
    assert sorted(numbers) == list(range(11))
    assert sizes[0] == 8
    assert sizes.count(8) == 1  # what did not fit once is not tried again
    assert told[-1] == (11, 11)
    assert not corpus.left_out


def test_a_text_that_fits_nowhere_is_left_out_and_one_that_fails_is_named(minilm):
    corpus = Corpus(minilm, lines("One.", "Two words.", "Three words here."), 512, 8)

    def too_large(batch):
        if any(reading.number == 1 for reading in batch):
            raise MemoryError("not enough memory")
        return len(batch)

    before = minilm.fits
    try:
        assert sum(corpus.stream(too_large)) == 2
    finally:
        minilm.fits = before
    assert re.match(r"Memory ran out on this text of \d tokens", corpus.left_out[1])

    def failing(batch):
        if any(reading.number == 2 for reading in batch):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        return len(batch)

    with pytest.raises(WrongValue, match=r"^The model failed on the text in line 3 of the corpus: mat1 and mat2"):
        list(Corpus(minilm, lines("One.", "Two words.", "Three words here."), 512, 8).stream(failing))


def test_a_model_that_must_not_see_padding_reads_texts_one_by_one(minilm, monkeypatch):
    sizes = []
    monkeypatch.setattr(minilm, "batches", False)
    list(Corpus(minilm, lines("One.", "Two words."), 512, 8).stream(lambda batch: sizes.append(len(batch))))
    assert sizes == [1, 1]
    monkeypatch.setattr(minilm, "batches", None)
    list(Corpus(minilm, lines("One.", "Two words and more."), 512, 8).stream(lambda batch: sizes.append(len(batch))))
    assert sizes[2:] == [2]
    assert minilm.batches is True


def test_batch_size_does_not_change_an_entry(minilm, treebank):
    inputs = {"corpus": read_corpus("cats.conllu", treebank)}
    one, other = (captured(minilm, inputs, size).meta["heads"]["stacks"]["self"] for size in (1, 3))
    assert one["telling"] == other["telling"]
    assert one["relations"] == other["relations"]
    words = {"text": ".", "line": 30, "parse": {"words": [(0, 1)], "heads": [0], "relations": ["root"]}}
    more = {"corpus": {"digest": "", "texts": [*inputs["corpus"]["texts"], words]}}  # in which no word counts
    assert captured(minilm, more, 1).meta["heads"]["stacks"]["self"]["relations"]["det"]["count"] == 4
    one_in_the_last_digit = 1.01e-5
    assert np.abs(np.array(one["measures"]["entropy"]) - other["measures"]["entropy"]).max() < one_in_the_last_digit


def test_layers_are_measured_together_or_one_by_one_alike(minilm, treebank, monkeypatch):
    inputs, told, of = {"corpus": read_corpus("cats.conllu", treebank)}, [], Masks.measured
    for limit in (1, 1 << 30):
        counts = []
        monkeypatch.setattr(head_batch, "AT_ONCE", limit)

        def counted(masks, weights, counts=counts):
            counts.append(weights.shape[1])
            return of(masks, weights)

        monkeypatch.setattr(Masks, "measured", counted)
        told.append((counts, captured(minilm, inputs).meta["heads"]["stacks"]["self"]))
    (alone, one), (together, other) = told
    assert (alone, together) == ([12] * 6, [72])
    assert one["relations"] == other["relations"]
    for name, values in one["measures"].items():
        assert np.allclose(values, other["measures"][name], rtol=1e-4, atol=2e-5), name
    assert np.allclose(one["map"], other["map"], atol=1e-3)


def test_a_worker_gets_the_texts_with_the_request():
    """No file crosses the pipe; a corpus in which one text fails has its line in the problem."""
    model = ref(MINILM)
    worker = InlineWorker()
    told = []
    worker.tell = lambda what, so_far: told.append((what, so_far))
    requests = [
        Request(HEADS, model, lines("A cat sat.", "The dog ran away.")),
        Request(HEADS, model, {"text": "A cat sat."}),
        Request(HEADS, model, lines("A very long text of many tokens.")),
    ]
    answers = {answer.index: answer for answer in worker.capture(requests, device="cpu", batch_size=2, max_tokens=8)}
    assert isinstance(answers[0], Captured)
    assert answers[0].entry.meta["heads"]["texts"] == 2
    assert isinstance(answers[1], Captured)
    assert isinstance(answers[2], Refused)
    assert answers[2].problem.key == "corpus"
    assert (f"model {MINILM} reads a corpus", "2 of 2 texts") in told


def test_the_key_has_the_digest_and_not_the_texts():
    model = ref(MINILM)
    parts = dict(Request(HEADS, model, lines("A cat sat.")).key_parts)
    assert parts["corpus"] == '"sha256:0"'
    assert "A cat sat" not in str(parts)
    assert "corpus" not in dict(Request(HEADS, model, {"text": "A cat sat."}).key_parts)


@pytest.mark.parametrize("moved", [False, True])
def test_a_pass_ends_at_its_last_attention(minilm, monkeypatch, moved):
    if moved:  # accelerate moves a layer's weights out again after the layer, so it must run whole
        monkeypatch.setattr(minilm.model, "hf_device_map", {"": "cpu"}, raising=False)
    ran: list[str] = []
    hooks = [
        layer.intermediate.register_forward_hook(lambda *_, n=number: ran.append(n))
        for number, layer in enumerate(minilm.model.encoder.layer)
    ]
    try:
        heads.capture(Context(minilm, (), {}, None, Corpus(minilm, {"text": "A cat sat."}, 512, 8)))
    finally:
        for hook in hooks:
            hook.remove()
    assert set(ran) == set(range(6 if moved else 5))


def test_a_probe_finds_what_the_heads_know_together(minilm, tmp_path):
    """It parses sentences that it has not seen, of a grammar that MiniLM's attention tells apart."""
    nouns, verbs, adjectives = ("cat", "dog", "bird", "farmer"), ("sees", "likes", "feeds"), ("old", "small", "red")
    rows = []
    for number in range(48):
        subject, verb, thing = nouns[number % 4], verbs[number % 3], nouns[(number * 3 + 1) % 4]
        words = [("the", 3, "det"), (adjectives[number % 3], 3, "amod"), (subject, 4, "nsubj"), (verb, 0, "root")]
        words += [("a", 6, "det"), (thing, 4, "obj"), (".", 4, "punct")]
        rows += [
            f"{at}\t{word}\t_\t_\t_\t_\t{head}\t{relation}\t_\t_" for at, (word, head, relation) in enumerate(words, 1)
        ]
        rows.append("")
    (tmp_path / "grammar.conllu").write_text("\n".join(rows))
    inputs = {"corpus": read_corpus("grammar.conllu", tmp_path / "grammar.conllu")}
    stack = captured(minilm, inputs, 16, parameters={"probe": True}).meta["heads"]["stacks"]["self"]
    assert stack["probe"]["sentences"] == 24
    assert stack["probe"]["baseline"] == pytest.approx(3 / 6)  # amod, nsubj and the second det
    assert stack["probe"]["uas"] > 0.95
    assert captured(minilm, inputs, 16).meta["heads"]["stacks"]["self"]["probe"] is None


def test_the_guides_capture_of_many_texts(minilm):
    """The page "Your own view" shows how another package's capture streams texts; exactly that code runs here."""
    page = (ROOT / "example_site" / "docs" / "guide" / "your-own-view.md").read_text()
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "context.corpus.stream" in block]
    names = {"torch": torch}
    exec("from mkdocs_attnviz.own_capture import *\n" + code, names)
    texts = ["A cat.", "The dog ran away and did not come back.", "too long " * 20]
    (entry,) = names["capture"](Context(minilm, (), {}, None, Corpus(minilm, lines(*texts), 30, 4)))
    norms = []
    for text in texts[:2]:
        with torch.inference_mode():
            output = minilm.model(**minilm.tokenizer(text, return_tensors="pt")).last_hidden_state
        norms.append(float(output.norm(dim=-1).max()))
    assert entry.meta["most"] == pytest.approx(max(norms), rel=1e-4)
    assert (entry.meta["texts"], entry.meta["left_out_count"]) == (2, 1)
