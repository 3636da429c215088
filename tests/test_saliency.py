"""Attributions equal what Captum gives when a small script asks it directly, without anything of ours near it."""

import functools
import json
import math
import re
import zlib
from dataclasses import replace
from types import SimpleNamespace
from typing import get_args
from urllib.parse import unquote

import captum.attr
import numpy as np
import pytest
import tiny_models
import torch
import transformers
from conftest import INDUCTION, ROOT, Site
from tokenizers import Tokenizer, models, pre_tokenizers

from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.models.captures import saliency
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.examples import example
from mkdocs_attnviz.models.loading.load import Unusable, load
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.probing import attribution
from mkdocs_attnviz.models.probing.interventions import intervening
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS
from mkdocs_attnviz.views.attention.weights import scaled
from mkdocs_attnviz.views.saliency import Options, short_percent
from mkdocs_attnviz.views.saliency_options import Single

torch.set_num_threads(1)

TRAINED = {name: str(ROOT / "example_site" / "models" / name) for name in ("dates", "agreement", "reviews")}
WORDS = ["[PAD]", "[UNK]", "[MASK]", *(f"w{n}" for n in range(30))]
SMALL = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "initializer_range": 0.6,
    "pad_token_id": 0,
}
TINY = {
    "masked": ("BertForMaskedLM", "BertConfig", {}),
    "classes": ("BertForSequenceClassification", "BertConfig", {"num_labels": 3, "hidden_act": "relu"}),
    "opt": ("OPTForCausalLM", "OPTConfig", {"ffn_dim": 24, "word_embed_proj_dim": 16, "init_std": 0.6}),
    "llama": ("LlamaForCausalLM", "LlamaConfig", {"pad_token_id": None}),
    "albert": ("AlbertForMaskedLM", "AlbertConfig", {"embedding_size": 8, "hidden_act": "relu"}),
}
TEXT = "w5 w9 w7 w3 w11"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`folder(name)` → a random model of that kind, saved, with a tokenizer of 33 words."""
    base = tmp_path_factory.mktemp("models")

    def folder(name):
        if name in TRAINED or name == "induction":
            return TRAINED.get(name, INDUCTION)
        path = base / name
        if not path.exists():
            kind, config, more = TINY[name]
            torch.manual_seed(1)
            model = getattr(transformers, kind)(getattr(transformers, config)(**SMALL | more)).eval()
            model.save_pretrained(path)
            words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
            words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
            transformers.PreTrainedTokenizerFast(
                tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", mask_token="[MASK]"
            ).save_pretrained(path)
        return str(path)

    return folder


@pytest.fixture(scope="module")
def loaded(folder):
    known = {}

    def loaded(name):
        if name not in known:
            known[name] = load(resolve(folder(name), None, Settings(), ROOT), "cpu", head=True, attention=False)
        return known[name]

    return loaded


def ours(model, inputs, **options):
    """Return words and the values of each output by our own code, before anything is quantised."""
    return saliency.explain_outputs(model, example(model, inputs, 512), Options(**options).parameters())


# ---- the independent script: transformers' own `inputs_embeds`, and Captum


def reference(path, kind, ids, read, target_ids=None):
    """Return a function of embeddings, (B, T, E), and the embeddings; `read` picks the explained number from the
    logits.
    """
    model = getattr(transformers, kind).from_pretrained(path, attn_implementation="eager").eval()
    ids = torch.tensor([ids])

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, embeddings, target=None):
            if target is None:
                return read(self.model(inputs_embeds=embeddings).logits)[:, None]
            scale = math.sqrt(model.config.d_model)  # Marian's encoder scales ids' embeddings, its decoder any
            logits = self.model(inputs_embeds=embeddings * scale, decoder_inputs_embeds=target).logits
            return read(logits)[:, None]

    table = model.get_input_embeddings()
    inputs = (table(ids).detach(),)
    if target_ids is not None:
        inputs += (table(torch.tensor([target_ids])).detach(),)
    return Wrapped(), inputs


def directly(method, function, inputs):
    """Run Captum as its manual says; return the values (T,) of each input, and the delta if there is one."""
    zeros = tuple(torch.zeros_like(part) for part in inputs)
    asked = {"target": 0}
    if method == "saliency":
        found = captum.attr.Saliency(function).attribute(inputs, abs=False, **asked)
        return [part[0].norm(dim=-1) for part in found], None
    if method in ("occlusion", "feature_ablation"):
        attribution = getattr(captum.attr, "Occlusion" if method == "occlusion" else "FeatureAblation")(function)
        if method == "occlusion":
            more = {"sliding_window_shapes": tuple((2, part.shape[-1]) for part in inputs)}
        else:
            masks, start = [], 0
            for part in inputs:
                masks.append(torch.arange(start, start + part.shape[1])[None, :, None].expand_as(part))
                start += part.shape[1]
            more = {"feature_mask": tuple(masks)}
        found = attribution.attribute(inputs, baselines=zeros, **asked, **more)
        return [part[0, :, 0] for part in found], None
    delta = None
    if method == "input_x_gradient":
        found = captum.attr.InputXGradient(function).attribute(inputs, **asked)
    elif method == "integrated_gradients":
        found, delta = captum.attr.IntegratedGradients(function).attribute(
            inputs, baselines=zeros, n_steps=20, return_convergence_delta=True, **asked
        )
    elif method == "deep_lift":
        found, delta = captum.attr.DeepLift(function).attribute(
            inputs, baselines=zeros, return_convergence_delta=True, **asked
        )
    elif method == "gradient_shap":
        np.random.seed(3)
        torch.manual_seed(3)
        found, delta = captum.attr.GradientShap(function).attribute(
            inputs, baselines=zeros, n_samples=20, stdevs=0.0, return_convergence_delta=True, **asked
        )
    else:
        name = {"guided_backprop": "GuidedBackprop", "deconvolution": "Deconvolution"}[method]
        found = getattr(captum.attr, name)(function).attribute(inputs, **asked)
        return [part[0].norm(dim=-1) for part in found], None
    return [part[0].sum(-1) for part in found], delta


OPTIONS_OF = {
    "saliency": {},
    "input_x_gradient": {},
    "integrated_gradients": {"steps": 20},
    "deep_lift": {},
    "gradient_shap": {"steps": 20, "seed": 3},
    "occlusion": {"window": 2},
    "feature_ablation": {},
}
RELU = ("guided_backprop", "deconvolution")


def case(name, loaded, folder):
    """Return inputs for our code and the function for Captum; both explain the same output."""
    path, tokenizer = folder(name), loaded(name).tokenizer
    if name in ("induction", "opt", "llama"):
        kind = {"induction": "GPT2LMHeadModel", "opt": "OPTForCausalLM", "llama": "LlamaForCausalLM"}[name]
        text = "green table seven rabbit cold river green table seven" if name == "induction" else TEXT
        ids = tokenizer(text)["input_ids"]
        plain = getattr(transformers, kind).from_pretrained(path).eval()
        token = int(plain(torch.tensor([ids])).logits[0, -1].argmax())
        return {"text": text}, {}, reference(path, kind, ids, lambda logits: logits[:, -1, token])
    if name == "dates":
        inputs = {"text": "march 4, 2019", "text_target": "2019-03-04"}
        ids = tokenizer(inputs["text"])["input_ids"]
        labels = tokenizer(text_target=inputs["text_target"])["input_ids"]
        read = [0, *labels[:6]]  # Marian starts with its padding token
        function = reference(path, "MarianMTModel", ids, lambda logits: logits[:, -1, labels[6]], read)
        return inputs, {"target": ["7"]}, function
    if name in ("masked", "albert"):
        kind = {"masked": "BertForMaskedLM", "albert": "AlbertForMaskedLM"}[name]
        text = "w5 w9 [MASK] w3 w11"
        ids = tokenizer(text)["input_ids"]
        plain = getattr(transformers, kind).from_pretrained(path).eval()
        token = int(plain(torch.tensor([ids])).logits[0, 2].argmax())
        return {"text": text}, {}, reference(path, kind, ids, lambda logits: logits[:, 2, token])
    if name == "agreement":  # why "are" and not "is"
        text = "the keys to the cabinet [MASK] on the table."
        ids = tokenizer(text)["input_ids"]
        at, are, is_ = ids.index(tokenizer.mask_token_id), *tokenizer.convert_tokens_to_ids(["are", "is"])
        function = reference(path, "BertForMaskedLM", ids, lambda logits: logits[:, at, are] - logits[:, at, is_])
        return {"text": text}, {"contrast": "is"}, function
    if name == "reviews":
        text = "the film is not bad at all."
        ids = tokenizer(text)["input_ids"]
        function = reference(path, "DistilBertForSequenceClassification", ids, lambda logits: logits[:, 1])
        return {"text": text}, {"target": ["positive"]}, function
    ids = tokenizer(TEXT)["input_ids"]
    function = reference(path, "BertForSequenceClassification", ids, lambda logits: logits[:, 1])
    return {"text": TEXT}, {"target": ["LABEL_1"]}, function


@pytest.fixture(scope="module")
def cases(loaded, folder):
    """`cases(name)` → a case, whose models are loaded once."""
    return functools.cache(lambda name: case(name, loaded, folder))


CASES = [
    *((name, method) for name in ("induction", "masked", "classes", *TRAINED) for method in OPTIONS_OF),
    *((name, method) for name in ("dates", "classes", "reviews", "opt") for method in RELU),
    ("llama", "integrated_gradients"),
    ("opt", "deep_lift"),
    ("albert", "input_x_gradient"),
]


@pytest.mark.parametrize(("name", "method"), CASES)
def test_equals_captum_run_directly(name, method, loaded, cases):
    inputs, more, (function, embeddings) = cases(name)
    said, found = ours(loaded(name), inputs, method=method, **OPTIONS_OF.get(method, {}), **more)
    expected, delta = directly(method, function, embeddings)
    assert len(said) == 1
    largest = max(float(part.abs().max()) for part in expected)
    assert largest > 1e-3
    for one, other in zip(found[0].values, expected, strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= 1e-5 * max(1, largest)
    assert found[0].value == pytest.approx(function(*embeddings).item(), abs=1e-4)
    if delta is not None:
        assert found[0].delta == pytest.approx(float(delta.mean()), abs=1e-4)


def test_the_layers_own(loaded, folder):
    """The reference is gradient × activation after layer 1, by autograd alone."""
    inputs, _, (function, embeddings) = case("induction", loaded, folder)
    kept = []
    function.model.transformer.h[1].register_forward_hook(
        lambda _, __, output: kept.append(output if torch.is_tensor(output) else output[0])
    )
    score = function(embeddings[0].requires_grad_())
    expected = (torch.autograd.grad(score.sum(), kept[0])[0] * kept[0])[0].sum(-1)
    _, found = ours(loaded("induction"), inputs, method="layer_gradient_x_activation", layer=1)
    assert (found[0].values[0] - expected).abs().max() <= 1e-5 * float(expected.abs().max())
    with pytest.raises(ValueError, match=r"`layer` is 2; model .* has layers 0 to 1"):
        ours(loaded("induction"), inputs, method="layer_gradient_x_activation", layer=2)


@pytest.mark.parametrize("name", ["induction", "dates", "masked", "classes", "llama"])
def test_integrated_gradients_are_complete(name, loaded, cases):
    """The sum of attributions is f(x) − f(baseline), more closely with more steps.

    Zeros are no baseline for an RMS norm, which ignores a vector's length until it has almost vanished.
    """
    inputs, more, _ = cases(name)
    if name == "llama":
        more = {"baseline": "pad"}
    errors = []
    for steps in (10, 200):
        _, found = ours(loaded(name), inputs, method="integrated_gradients", steps=steps, **more)
        each = found[0]
        total = sum(float(part.sum()) for part in each.values)
        errors.append(abs(total - (each.value - each.baseline)))
        assert each.delta == pytest.approx(total - (each.value - each.baseline), abs=1e-3)
    print(f"{name}: completeness error {errors[0]:.2g} with 10 steps, {errors[1]:.2g} with 200")
    assert errors[1] <= 0.02 * abs(each.value - each.baseline)


def test_a_classifier_whose_decoder_reads_the_text_again(tmp_path):
    """Input × gradient is the gradient of the shared table of embeddings, by autograd alone.

    It goes through encoder and decoder; the latter reads a start token, and not the text's last one.
    """
    torch.manual_seed(1)
    sizes = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 32}
    ends = {"eos_token_id": 4, "decoder_start_token_id": 1, "bos_token_id": 1, "pad_token_id": 0}
    config = transformers.BartConfig(vocab_size=len(WORDS), init_std=0.6, num_labels=3, **sizes, **heads, **ends)
    model = transformers.BartForSequenceClassification(config).eval()
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]")
    ours_of = Loaded(resolve(TRAINED["dates"], None, Settings(), ROOT), model, tokenizer, torch.device("cpu"))
    inputs = {"text": "w5 w9 w7 w3 w1"}  # w1 ends a sentence
    ids = tokenizer(inputs["text"], return_tensors="pt")["input_ids"]
    table = model.model.shared.weight
    chosen = int(model(ids).logits.argmax())
    (gradient,) = torch.autograd.grad(model(ids).logits[0, chosen], table)
    expected = (gradient * table)[ids[0]].sum(-1).detach()
    _, found = ours(ours_of, inputs)
    assert (found[0].values[0] - expected).abs().max() <= 1e-5 * float(expected.abs().max())
    _, layers = ours(ours_of, inputs, method="layer_gradient_x_activation")
    assert [len(part) for part in layers[0].values] == [5], "at the encoder's layer"
    with (
        pytest.raises(
            Unusable, match=r"`interventions` does not reach into model .* whose decoder reads the text again"
        ),
        intervening(ours_of, [{"layer": 0, "heads": [0], "scale": 0.0}], [inputs]),
    ):
        pass


def test_layers_that_return_more_than_vectors(tmp_path):
    folder = str(ROOT / "example_site" / "models" / "dates")
    sizes = {"d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 24, "num_layers": 2, "decoder_start_token_id": 0}
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(vocab_size=len(tokenizer), **sizes)).eval()
    made = Loaded(resolve(folder, None, Settings(), ROOT), model, tokenizer, torch.device("cpu"))
    with pytest.raises(Unusable, match="return more than vectors, which Captum does not take"):
        ours(made, {"text": "march 4", "text_target": "03"}, method="layer_gradient_x_activation")


def test_eccos_value(loaded, folder):
    """The reference is Ecco's: the gradient of the softmax probability, its L2 norm, normalised, by autograd."""
    path = folder("induction")
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModelForCausalLM.from_pretrained(path).eval()
    text = "green table seven rabbit cold river green table seven"
    embeddings = model.get_input_embeddings()(tokenizer(text, return_tensors="pt")["input_ids"]).detach()
    embeddings.requires_grad_()
    probabilities = model(inputs_embeds=embeddings).logits[0, -1].softmax(-1)
    probabilities.max().backward()
    norms = embeddings.grad[0].norm(dim=-1)
    options = {"method": "saliency", "norm": "l2", "explain": "probability"}
    _, found = ours(loaded("induction"), {"text": text}, **options)
    values = found[0].values[0]
    assert (values / values.sum() - norms / norms.sum()).abs().max() <= 1e-5
    assert found[0].value == pytest.approx(float(probabilities.max()), abs=1e-6)


def test_a_contrast_is_the_difference_of_two(loaded, folder):
    inputs, _, (_, embeddings) = case("induction", loaded, folder)
    model = loaded("induction")
    said, found = ours(model, inputs, contrast="river")
    ids = [int(model.tokenizer.get_vocab()[said[0]["token"].strip()]), int(model.tokenizer.get_vocab()["river"])]
    function, embeddings = reference(
        folder("induction"),
        "GPT2LMHeadModel",
        model.tokenizer(inputs["text"])["input_ids"],
        lambda logits: logits[:, -1, ids[0]] - logits[:, -1, ids[1]],
    )
    expected, _ = directly("input_x_gradient", function, embeddings)
    assert (found[0].values[0] - expected[0]).abs().max() <= 1e-5 * float(expected[0].abs().max())
    _, logs = ours(model, inputs, contrast="river", explain="log_probability")
    assert (logs[0].values[0] - found[0].values[0]).abs().max() <= 1e-4  # the normaliser cancels out


@pytest.mark.parametrize(
    ("name", "kind", "text"), [("masked", "BertForMaskedLM", "w5 [MASK] w7"), ("opt", "OPTForCausalLM", TEXT)]
)
def test_a_token_of_the_author(loaded, folder, name, kind, text):
    """The attribution of the model's token minus that of the author's is that of the contrast, by Captum."""
    model = loaded(name)
    ids, at = model.tokenizer(text)["input_ids"], 1 if name == "masked" else -1
    wanted = model.tokenizer.convert_tokens_to_ids("w20")
    said, found = ours(model, {"text": text}, token="w20")
    assert said[0]["token"] == "w20"
    function, embeddings = reference(folder(name), kind, ids, lambda logits: logits[:, at, wanted])
    expected, _ = directly("input_x_gradient", function, embeddings)
    assert (found[0].values[0] - expected[0]).abs().max() <= 1e-5 * float(expected[0].abs().max())
    assert found[0].value == pytest.approx(float(function(*embeddings)), rel=1e-5)


def test_what_the_pages_say_of_a_masked_word_and_a_verdict(loaded):
    """The pages `guide/views/saliency.md` and `learn/agreement.md` tell which words an answer depends on."""

    def by_word(name, text, **options):
        model = loaded(name)
        _, found = ours(model, {"text": text}, **options)
        words = example(model, {"text": text}, 99).text.pretty
        return dict(zip(words, found[0].values[0].tolist(), strict=True)), found[0].value

    keys, difference = by_word(
        "agreement", "the keys to the cabinet [MASK] on the table.", method="occlusion", contrast="is"
    )
    assert keys["keys"] > difference > 7, "alone it makes all of the difference, and a little more"
    assert abs(keys["cabinet"]) < 0.05 * difference
    plain, verdict = by_word("reviews", "the film is not bad.", method="occlusion")
    assert min(plain["not"], plain["bad"]) > 0.95 * verdict
    assert all(abs(plain[word]) < 0.05 * verdict for word in ("the", "film", "is", "."))
    more, verdict = by_word("reviews", "the film is not bad at all.", method="occlusion")
    assert more["bad"] > 0.95 * verdict
    assert more["not"] < 0.1 * verdict
    gradients, _ = by_word("reviews", "the film is not bad at all.", method="integrated_gradients")
    assert sorted(gradients, key=gradients.get)[-2:] == ["bad", "not"]
    assert min(gradients["not"], gradients["bad"]) > 1


def test_a_token_that_is_none(loaded):
    with pytest.raises(ValueError, match="`token` has 'w20 w3', which is not one token of the vocabulary of model"):
        ours(loaded("masked"), {"text": "w5 [MASK] w7"}, token="w20 w3")
    with pytest.raises(
        ValueError, match=r"`token` is for models that predict tokens, and .* predicts classes: `target`"
    ):
        ours(loaded("classes"), {"text": TEXT}, token="w20")


def test_what_was_written_is_explained_by_what_stands_before(loaded):
    model = loaded("induction")
    inputs = {"text": "green table seven rabbit cold river green", "generate": {"max_new_tokens": 3}}
    entry = saliency.capture(Context(model, [example(model, inputs, 512)], Options().parameters()))[0]
    outputs = entry.meta["outputs"]
    assert [output["index"] for output in outputs] == [7, 8, 9]
    rows = np.array(scaled(entry.blobs["attributions"], 3))
    assert rows.shape == (3, 10)
    content = zlib.decompress(entry.blobs["attributions"])
    steps = np.frombuffer(content[12:], "<i2").reshape(3, 10)
    for number, row in enumerate(steps):
        assert (row[: 7 + number] != -32768).all()
        assert (row[7 + number :] == -32768).all()
    _, found = ours(model, inputs)
    exact = found[2].values[0].numpy()
    assert np.abs(rows[2, :9] - exact).max() <= np.abs(exact).max() / 65534 * 1.01


def test_all_targets(loaded):
    assert [each["index"] for each in ours(loaded("opt"), {"text": TEXT}, target=["all"])[0]] == [1, 2, 3, 4]
    assert [each["token"] for each in ours(loaded("classes"), {"text": TEXT}, target=["all"])[0]] == [
        "LABEL_0",
        "LABEL_1",
        "LABEL_2",
    ]
    said, _ = ours(loaded("masked"), {"text": TEXT}, target=["1"])
    assert said[0]["token"] == "w9"  # masked by itself, and explained as what stood there


def test_the_model_is_left_as_it_was(loaded):
    model = loaded("opt")
    hooks = sum(len(module._forward_hooks) + len(module._backward_hooks) for module in model.model.modules())
    state = np.random.get_state()[1].copy()
    ours(model, {"text": TEXT}, method="gradient_shap", steps=5)
    with pytest.raises(ValueError, match="`contrast` has 'no such'"):
        ours(model, {"text": TEXT}, contrast="no such")
    assert all(parameter.requires_grad for parameter in model.model.parameters())
    assert hooks == sum(len(m._forward_hooks) + len(m._backward_hooks) for m in model.model.modules())
    assert (np.random.get_state()[1] == state).all()


@pytest.mark.parametrize(
    ("name", "inputs", "options", "kind", "said"),
    [
        ("induction", {"text": "green"}, {"method": "guided_backprop"}, Unusable, "has none"),
        (
            "albert",
            {"text": "w5 [MASK]"},
            {"method": "deep_lift"},
            Unusable,
            "deep_lift, which needs a module of its own",
        ),
        ("masked", {"text": TEXT}, {}, ValueError, r"`text` has no \[MASK\]"),
        ("classes", {"text": TEXT}, {"target": ["good"]}, ValueError, "`target` is 'good'; the classes of .* LABEL_0"),
        ("opt", {"text": TEXT}, {"target": ["9"]}, ValueError, "`target` is '9'; .* positions of outputs: 1 to 5"),
    ],
)
def test_what_cannot_be(loaded, name, inputs, options, kind, said):
    with pytest.raises(kind, match=said):
        ours(loaded(name), inputs, **options)


def test_without_captum(loaded, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "captum.attr", None)
    with pytest.raises(Unusable, match=r"pip install 'attnviz\[explain\]'"):
        ours(loaded("opt"), {"text": TEXT})


def test_a_key_of_another_method():
    body = "model: m\ntext: t\nview: saliency\nsteps: 20"
    with pytest.raises(BlockError, match="`steps` belongs to `method` integrated_gradients and gradient_shap, not to"):
        parse(Source(body), OPTIONS)


def test_only_what_matters_is_in_the_key():
    assert Options(style="bars", ignore_tokens=["special"]).parameters() == {
        "method": "input_x_gradient",
        "norm": "sum",
        "explain": "logit",
    }
    assert set(attribution.METHODS) == set(get_args(Single))


def test_what_the_page_says_is_so(loaded):
    text = {"text": "green table seven rabbit cold river green table seven rabbit cold"}

    def first(**options):
        said, found = ours(loaded("induction"), text, **options)
        return said[0]["token"].strip(), found[0]

    token, occluded = first(method="occlusion")
    assert token == "river"
    values = occluded.values[0]
    assert sorted(values.topk(3).indices.tolist()) == [4, 5, 10]  # cold, river, cold
    assert (occluded.value - values[[4, 5, 10]] < 0.5).all()
    for baseline, strongest in (("zero", 10), ("pad", 5)):
        _, integrated = first(method="integrated_gradients", baseline=baseline)
        assert int(integrated.values[0].abs().argmax()) == strongest
        assert abs(integrated.delta) < 0.001
    _, found = ours(loaded("dates"), {"text": "march 4, 2019"}, method="occlusion", target=["7"])
    assert [int(part.argmax()) for part in found[0].values] == [3, 5]  # the c of march, the dash before the month


# ---- in the browser


@pytest.fixture(scope="module")
def built(tmp_path_factory, shared_cache):
    site = Site(tmp_path_factory.mktemp("saliency"), shared_cache)
    site.settings["models"]["dates"] = TRAINED["dates"]
    site.write("index.md", PAGE)
    built = site.build()
    assert built.alerts() == [], built.log
    return built


PAGE = """# Saliency

```attention
model: induction
text: green table seven rabbit cold river green table seven
generate: {max_new_tokens: 3}
view: saliency
id: written
```

```attention
model: dates
text: march 4, 2019
text_target: 2019-03-04
view: saliency
method: integrated_gradients
steps: 8
target: [1, 7, 11]
style: bars
ignore_tokens: [special]
id: date
```
"""


def settled(element):
    element.evaluate("async element => { await element.updateComplete }")


def refused(element, change):
    script = (
        "(element, bad) => { try { element.state = bad } catch (error) { return `${error.name}: ${error.message}` } }"
    )
    return element.evaluate(script, change)


def option(element, index):
    return element.locator("[role=option]").nth(index)


def chosen(element):
    return element.locator("[role=option][aria-selected=true]").get_attribute("data-index")


def color(element, index):
    return option(element, index).evaluate("token => getComputedStyle(token).backgroundColor")


def test_the_numbers_of_the_page(figure, loaded):
    _, element = figure("date")
    values = element.evaluate("element => element.values({})")
    _, found = ours(
        loaded("dates"),
        {"text": "march 4, 2019", "text_target": "2019-03-04"},
        method="integrated_gradients",
        steps=8,
        target=["1", "7", "11"],
    )
    assert len(values["values"]) == len(found) == 3
    assert values["inputs"][:5] == ["m", "a", "r", "c", "h"]
    for row, each in zip(values["values"], found, strict=True):
        exact = torch.cat(each.values).numpy()
        assert np.abs(np.array(row[: len(exact)]) - exact).max() <= np.abs(exact).max() / 30000
        assert row[len(exact) :] == [None] * (len(row) - len(exact))
    assert values["delta"] == pytest.approx([each.delta for each in found], abs=1e-4)
    shares = [share for share in values["shares"][0] if share is not None]
    assert sum(map(abs, shares)) == pytest.approx(1, abs=1e-6)
    assert values["shares"][0][13] is None  # </s> has no part in it
    assert [values["method"], values["norm"], values["explain"]] == ["integrated_gradients", "sum", "logit"]


def test_pointing_chooses_and_a_click_holds(figure):
    _, element = figure("written")
    readout = element.locator(".panel-readout")
    assert chosen(element) == "9"
    option(element, 10).hover()
    assert chosen(element) == "10"
    assert readout.inner_text().startswith("cold (")
    option(element, 2).hover()
    assert chosen(element) == "10"
    values = element.evaluate("element => element.values({})")
    value = values["values"][1][2]
    assert f"{value:.3g}".replace("-", "−") in readout.inner_text()
    option(element, 11).click()
    settled(element)
    assert element.evaluate("element => element.state") == {"style": "background", "selected": 2}
    option(element, 9).hover()  # held: now this is an input
    assert chosen(element) == "11"
    assert readout.inner_text().startswith("rabbit: ")
    option(element, 9).press("Escape")
    settled(element)
    assert element.evaluate("element => element.state.selected") is None


def test_the_keyboard(figure):
    page, element = figure("written")
    option(element, 0).focus()
    page.keyboard.press("End")
    settled(element)
    assert chosen(element) == "11"
    page.keyboard.press("ArrowLeft")
    assert chosen(element) == "10"
    page.keyboard.press("Enter")
    settled(element)
    assert element.evaluate("element => element.state.selected") == 1
    page.keyboard.press("Home")
    assert chosen(element) == "10"
    assert element.locator(".panel-readout").inner_text().startswith("green: ")
    page.keyboard.press("Escape")
    settled(element)
    assert element.evaluate("element => element.state.selected") is None


def test_colours_say_the_sign_and_follow_the_output(figure):
    page, element = figure("written")
    values = element.evaluate("element => element.values({})")["values"][0]
    largest = int(np.argmax(np.abs(values[:9])))
    light = color(element, largest)
    assert color(element, 11) == "rgba(0, 0, 0, 0)"  # not read for the first output
    signs = {index: value for index, value in enumerate(values[:9]) if abs(value) > 0.03 * abs(values[largest])}
    for index, value in signs.items():
        red, _, blue = map(int, color(element, index)[4:-1].split(", "))
        assert (blue > red) == (value > 0)
    element.evaluate("element => { element.state = { selected: 2 } }")
    settled(element)
    assert color(element, 10) != "rgba(0, 0, 0, 0)"
    element.evaluate("element => { element.state = { selected: 0 } }")
    page.evaluate("document.documentElement.dataset.bsTheme = 'dark'")
    element.locator(".figure.dark").wait_for()
    settled(element)
    assert color(element, largest) != light


LAYERS = """element => [...element.shadowRoot.querySelectorAll('[role=option]')].map((option) => {
  const { backgroundImage, backgroundPosition, backgroundSize } = getComputedStyle(option);
  const tops = backgroundPosition.split(', ').map((at) => parseFloat(at.split(' ')[1]));
  const heights = backgroundSize.split(', ').map((size) => parseFloat(size.split(' ')[1]));
  return backgroundImage === 'none' ? [] : tops.map((top, i) => [top, heights[i]]);
})"""


def test_bars_of_both_signs_stand_on_one_line(figure):
    """Tops and heights of each token's bar and of the line, as the browser has them, against the shares."""
    _, element = figure("date")
    places = "element => [...element.shadowRoot.querySelectorAll('[role=option]')].map((each) => each.offsetLeft)"
    before = element.evaluate(places)
    element.evaluate("element => { element.state = { selected: 2 } }")
    settled(element)
    assert element.evaluate(places) == before  # else what is pointed at would run away
    shares = element.evaluate("element => element.values({})")["shares"][2]
    drawn = element.evaluate(LAYERS)
    known = {at: share for at, share in enumerate(shares) if share is not None}
    assert min(known.values()) < 0 < max(known.values())
    assert [at for at, layers in enumerate(drawn) if layers] == list(known)
    ((line, thick),) = {tuple(layers[-1]) for layers in drawn if layers}
    heights = {}
    for at, share in known.items():
        for top, height in drawn[at][:-1]:
            assert (top + height if share > 0 else top - thick) == pytest.approx(line, abs=0.1)
            heights[at] = height
    longest = max(heights, key=heights.get)
    assert abs(known[longest]) == max(map(abs, known.values()))
    scale = heights[longest] / abs(known[longest])
    for at, share in known.items():
        assert heights.get(at, 0) == pytest.approx(scale * abs(share), abs=0.3)


def percent_of(text):
    return float(text.replace("−", "-").removesuffix("%")) / 100


def test_each_input_has_its_number_at_first(figure):
    """Both styles show it without a control; an output that is no input has its position."""
    for name in ("written", "date"):
        _, element = figure(name)
        shares = element.evaluate("element => element.values({})")["shares"][0]
        notes = element.locator("[role=option] small").all_inner_texts()
        read = [at for at, share in enumerate(shares) if share is not None]
        assert len(read) > 5
        assert [percent_of(notes[at]) for at in read] == pytest.approx([shares[at] for at in read], abs=0.0051)
    assert element.locator("[role=option]").last.locator("small").inner_text() == "11"


def test_the_static_picture_has_bars_and_numbers(built):
    written, date = (unquote(image["src"]) for image in built.page().select("attn-viz img"))
    assert re.findall(r">[−\d.]+%<", written)
    assert "opacity" in written
    assert len(re.findall(r"height='1'/>", date)) == 13, "a line under each letter, none under special tokens"
    assert "opacity" not in date
    assert re.search(r"class='n' x='[^>]*>", date)


def test_both_sides_write_a_share_alike(figure):
    """The page's numbers are those of the static picture, which Python writes."""
    _, element = figure("date")
    notes = element.locator("[role=option] small").all_inner_texts()
    shares = element.evaluate("element => element.values({})")["shares"][0]
    read = [at for at, share in enumerate(shares) if share is not None]
    assert [notes[at] for at in read] == [short_percent(shares[at]) for at in read]
    said = [short_percent(share) for share in (0, -0.0002, 0.0994, -0.0996, 1)]
    assert said == ["0%", "0.0%", "9.9%", "−10%", "100%"]


def test_bad_states(figure):
    _, element = figure("written")
    assert refused(element, {"selected": 3}) == "RangeError: selected 3: not a number from 0 to 2"
    assert refused(element, {"style": "x"}) == "RangeError: style x: not one of background, bars"
    assert refused(element, {"layer": 3}) == "RangeError: layer: not a part of the state"


def test_the_legend_declares_what_is_shown(figure):
    _, element = figure("date")
    element.get_by_role("button", name="Options").click()
    settled(element)
    assert "blue: for, orange: against" in element.locator(".legend").inner_text()
    notes = element.locator(".notes").inner_text()
    for part in ("integrated_gradients (Captum)", "signed sum", "the logit", "baseline: zero embeddings", "8 steps"):
        assert part in notes
    assert "convergence delta" in element.locator(".panel-readout").inner_text()


def test_a_narrow_page(figure):
    page, element = figure("date", width=360)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert element.locator("[role=listbox]").evaluate("list => list.scrollWidth <= list.clientWidth")


def test_without_javascript(built):
    page = built.page()
    sentences = [figure["data-figure"] for figure in page.select("attn-viz")]
    label = json.loads(sentences[0])["label"]
    assert label.startswith("What each token adds to the logit of “")
    assert "by input_x_gradient. Largest: “" in label
    assert " at 8 (+" in label  # the last token that was read for the first output
    assert page.select("attn-viz img, attn-viz svg")


class Numbers:
    """A tokenizer that writes each token as its number."""

    pad_token_id, mask_token_id, all_special_ids, model_max_length = 0, 3, [0], 10**30

    def __len__(self):
        return 100

    def convert_ids_to_tokens(self, ids):
        return [str(number) for number in ids]


@pytest.mark.parametrize(
    ("model_type", "auto"), [("ibert", "MaskedLM"), ("ctrl", "CausalLM"), ("fsmt", "Seq2SeqLM"), ("gpt2", "CausalLM")]
)
def test_embeddings_that_are_handed_on_in_another_way(model_type, auto):
    """Embeddings may be a pair with a scale (I-BERT), changed in place (CTRL), or returned by no method (FSMT).

    If no token occurs twice, gradient × embedding is that of the table's own rows, which needs no hook.
    """
    torch.manual_seed(0)
    config = tiny_models.config(model_type)
    config.tie_word_embeddings = False
    model = getattr(transformers, f"AutoModelFor{auto}").from_config(config, attn_implementation="eager").eval()
    model_held = Loaded(SimpleNamespace(name=model_type), model, Numbers(), torch.device("cpu"))
    read = tiny_models.example(model_held, 9, 5)
    if auto == "MaskedLM":
        read.text.ids[4] = 3
    if read.target is not None:
        read = replace(read, target=replace(read.target, labels=[*read.target.ids[1:], 7]))
    found = saliency.explain_outputs(model_held, read, Options(method="input_x_gradient", norm="sum").parameters())
    for said, part in zip(*found, strict=True):
        ids = read.text.ids if said["name"] != "text" or auto == "MaskedLM" else read.text.ids[: said["index"]]
        inputs = {"input_ids": torch.tensor([ids])}
        if read.target is not None:
            inputs["decoder_input_ids"] = torch.tensor([read.target.ids[: said["index"]]])
        logits = model(**inputs, use_cache=False).logits if auto != "MaskedLM" else model(**inputs).logits
        row = logits[0, said["index"]] if auto == "MaskedLM" else logits[0, -1]
        tables = [module for module in model.modules() if getattr(module, "num_embeddings", 0) == config.vocab_size]
        table = next(iter(tables), None) or next(m for m in model.modules() if type(m).__name__ == "QuantEmbedding")
        weight = table.weight
        (slope,) = torch.autograd.grad(row[int(said["token"])], weight)
        truth = (weight * slope).sum(-1)[torch.tensor(ids)].detach()
        assert torch.allclose(part.values[0], truth, atol=1e-5)
