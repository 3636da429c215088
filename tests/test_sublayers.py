"""The sublayers of a model are those of its code; a change of its loss is that of a model that was changed by hand."""

from __future__ import annotations

import copy
import json
import logging
import re
from dataclasses import asdict
from itertools import pairwise

import jsonschema
import pytest
import tiny_models
import torch
import yaml
from conftest import ROOT
from torch.nn.functional import cross_entropy

from mkdocs_attnviz.block.parse import parse
from mkdocs_attnviz.block.problem import BlockError
from mkdocs_attnviz.block.schema import json_schema
from mkdocs_attnviz.block.source import Source
from mkdocs_attnviz.cache.entry import Entry
from mkdocs_attnviz.cli.status import block_statuses
from mkdocs_attnviz.figure.figure import Figure
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.captures.corpus import Corpus
from mkdocs_attnviz.models.captures.sublayers import capture
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.corpus_text import CorpusText
from mkdocs_attnviz.models.inputs.examples import collate, example
from mkdocs_attnviz.models.loading.load import Unusable, load
from mkdocs_attnviz.models.probing.residual_changes import exchanged, noting, without
from mkdocs_attnviz.models.probing.sublayers import find_sublayers
from mkdocs_attnviz.pipeline import Pipeline
from mkdocs_attnviz.settings import Settings
from mkdocs_attnviz.views import OPTIONS, VIEWS
from mkdocs_attnviz.views.claims import judge
from mkdocs_attnviz.views.svg.strips import layout_of

torch.set_num_threads(1)

STRIPS = {
    "albert": "s f s f",
    "bart": "s f s f / s c f s c f",
    "bert": "s f s f",
    "bloom": "s f s f",
    "cohere": "s|f s|f",
    "falcon": "s|f s|f",
    "falcon_h1": "m|s f m|s f",
    "falcon_mamba": "m m",
    "fnet": "o f o f",
    "gemma2": "s f s f",
    "gpt_neox": "s|f s|f",
    "gptj": "s|f s|f",
    "granitemoehybrid": "m e|e s e|e",
    "jamba": "m f s e",
    "llama": "s f s f",
    "longcat_flash": "s f s e|f s f s e|f",
    "mixtral": "s e s e",
    "opt": "s f s f",
    "qwen3_next": "m e m e m e s e",
    "recurrent_gemma": "m f m f s f m f",
    "rwkv": "m m m m",
    "t5": "s f s f / s c f s c f",
    "xlstm": "m f m f",
    "zamba": "m o m o",
}
"""The strips of tiny models, as their code in transformers has them: | between parallel ones, / before a decoder's."""


def strip_of(sublayers):
    return " / ".join(
        " ".join("|".join(each.kind for each in unit.sublayers) for unit in units) for units in sublayers.units.values()
    )


@pytest.mark.parametrize("model_type", STRIPS)
def test_sublayers_are_found_by_running(model_type):
    loaded = tiny_models.tiny(model_type)
    assert strip_of(find_sublayers(loaded, tiny_models.example(loaded))) == STRIPS[model_type]


def test_names_and_parameters_are_those_of_the_modules():
    loaded = tiny_models.tiny("llama")
    found = [sublayer for *_, sublayer in find_sublayers(loaded, tiny_models.example(loaded))]
    assert [each.names for each in found] == [
        ["layers.0.self_attn"],
        ["layers.0.mlp"],
        ["layers.1.self_attn"],
        ["layers.1.mlp"],
    ]
    layer = loaded.model.layers[1]
    sizes = [(layer.self_attn, layer.input_layernorm), (layer.mlp, layer.post_attention_layernorm)]
    assert [each.parameters for each in found[2:]] == [
        sum(each.numel() for module in modules for each in module.parameters()) for modules in sizes
    ]
    shared = tiny_models.tiny("albert")
    found = [sublayer for *_, sublayer in find_sublayers(shared, tiny_models.example(shared))]
    assert [each.shared for each in found] == [False, False, True, True]


@pytest.mark.parametrize(
    ("model_type", "why"), [("mobilebert", "attention is added to no stream"), ("deepseek_v4", "no residual")]
)
def test_a_model_without_a_plain_stream_is_refused(model_type, why):
    loaded = tiny_models.tiny(model_type)
    with pytest.raises(Unusable, match=rf"The sublayers of model '{model_type}' .* cannot be told: .*{why}"):
        find_sublayers(loaded, tiny_models.example(loaded))


# A sublayer that is left out

ZEROED = {
    "bert": [["encoder.layer.0.attention.output.dense"], ["encoder.layer.0.output.dense"]],  # post-norm
    "llama": [["layers.0.self_attn.o_proj"], ["layers.0.mlp.down_proj"]],  # pre-norm, grouped queries
    "gemma2": [["layers.0.self_attn.o_proj"], ["layers.0.mlp.down_proj"]],  # a norm before and after
    "gptj": [["h.0.attn.out_proj"], ["h.0.mlp.fc_out"]],  # parallel, summed before the stream
    "cohere": [["layers.0.self_attn.o_proj"], ["layers.0.mlp.down_proj"]],  # parallel, summed one after the other
    "t5": [
        ["encoder.block.0.layer.0.SelfAttention.o"],
        ["encoder.block.0.layer.1.DenseReluDense.wo"],
        ["encoder.block.1.layer.0.SelfAttention.o"],
        ["encoder.block.1.layer.1.DenseReluDense.wo"],
        ["decoder.block.0.layer.0.SelfAttention.o"],
        ["decoder.block.0.layer.1.EncDecAttention.o"],
        ["decoder.block.0.layer.2.DenseReluDense.wo"],
    ],
    "mixtral": [["layers.0.self_attn.o_proj"], ["layers.0.mlp.experts"]],  # a mixture of experts
    "falcon_mamba": [["layers.0.mixer.out_proj"], ["layers.1.mixer.out_proj"]],  # a state space
    "falcon_h1": [["layers.0.mamba.out_proj"], ["layers.0.self_attn.o_proj"], ["layers.0.feed_forward.down_proj"]],
}
"""The modules whose weights, set to zero, silence the first sublayers of each model, in running order."""


@pytest.mark.parametrize("model_type", ZEROED)
def test_without_a_sublayer_the_loss_is_that_of_a_model_whose_branch_is_zero(model_type):
    loaded = tiny_models.tiny(model_type)
    read = tiny_models.example(loaded)
    sublayers = find_sublayers(loaded, read)
    first = [sublayer for *_, sublayer in sublayers][: len(ZEROED[model_type])]
    inputs = collate(loaded, [read])
    plain = hidden(loaded.model, inputs)
    for sublayer, names in zip(first, ZEROED[model_type], strict=True):
        with torch.inference_mode(), without(sublayers.outer, sublayer.place):
            changed = hidden(loaded.model, inputs)
        by_hand = copy.deepcopy(loaded.model)
        for name in names:
            for parameter in by_hand.get_submodule(name).parameters():
                torch.nn.init.zeros_(parameter)
        expected = hidden(by_hand, inputs)
        assert not torch.allclose(expected, plain, atol=1e-3)
        torch.testing.assert_close(loss(changed), loss(expected), atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(changed, expected, atol=1e-6, rtol=1e-6)


def hidden(model, inputs):
    with torch.no_grad():
        outputs = model(**inputs, return_dict=True)
    return outputs.logits if "logits" in outputs else outputs.last_hidden_state


def loss(states):
    """The cross entropy of fixed tokens under a fixed unembedding."""
    matrix = torch.randn(states.shape[-1], 20, generator=torch.Generator().manual_seed(0))
    logits = (states @ matrix)[0]
    return cross_entropy(logits, torch.arange(len(logits)) % 20)


# Two that change places


def swapped_llama(model, place):
    """A Llama in which two neighbours have changed places: within a layer, or across two."""
    layers, rotary = model.layers, model.rotary_emb

    class Reordered(torch.nn.Module):
        def forward(self, input_ids):
            x = model.embed_tokens(input_ids)
            positions = torch.arange(input_ids.shape[1])[None]
            cos_sin = rotary(x, positions)
            mask = torch.full((x.shape[1], x.shape[1]), torch.finfo(x.dtype).min).triu(1)[None, None]
            parts = [part for layer in layers for part in attention_and_network(layer, cos_sin, mask)]
            parts[place], parts[place + 1] = parts[place + 1], parts[place]
            for part in parts:
                x = x + part(x)
            return model.norm(x)

    return Reordered()


def attention_and_network(layer, cos_sin, mask):
    def attention(x):
        return layer.self_attn(layer.input_layernorm(x), position_embeddings=cos_sin, attention_mask=mask)[0]

    return attention, lambda x: layer.mlp(layer.post_attention_layernorm(x))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_exchanged_neighbours_of_a_pre_norm_model(place):
    loaded = tiny_models.tiny("llama")
    read = tiny_models.example(loaded)
    with torch.no_grad():
        expected = swapped_llama(loaded.model, place)(torch.tensor([read.text.ids]))
    torch.testing.assert_close(after_exchange(loaded, read, place), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_exchanged_neighbours_of_a_post_norm_model(place):
    loaded = tiny_models.tiny("bert")
    read = tiny_models.example(loaded)
    with torch.no_grad():
        x = loaded.model.embeddings(torch.tensor([read.text.ids]))
        parts = [part for layer in loaded.model.encoder.layer for part in post_norm_parts(layer)]
        parts[place], parts[place + 1] = parts[place + 1], parts[place]
        for part in parts:
            x = part(x)
    torch.testing.assert_close(after_exchange(loaded, read, place), x, atol=1e-5, rtol=1e-5)


def post_norm_parts(layer):
    return (
        lambda x: layer.attention.output(layer.attention.self(x)[0], x),
        lambda x: layer.output(layer.intermediate(x), x),
    )


@pytest.mark.parametrize("model_type", ["gptj", "falcon_mamba"])
def test_exchanged_layers_that_have_one_unit_each(model_type):
    """Whole layers change places: parallel ones, a state space."""
    loaded = tiny_models.tiny(model_type)
    read = tiny_models.example(loaded)
    by_hand = copy.deepcopy(loaded.model)
    layers = by_hand.h if model_type == "gptj" else by_hand.layers
    layers[0], layers[1] = layers[1], layers[0]
    with torch.no_grad():
        expected = by_hand(**collate(loaded, [read]), use_cache=False).last_hidden_state
    torch.testing.assert_close(after_exchange(loaded, read, 0), expected, atol=1e-5, rtol=1e-5)


def after_exchange(loaded, read, place, stack="self"):
    sublayers = find_sublayers(loaded, read)
    inputs = collate(loaded, [read]) | {"use_cache": False}
    first, second = sublayers.units[stack][place : place + 2]
    with torch.inference_mode():
        with noting(sublayers.outer) as notes:
            hidden(loaded.model, inputs)
        with exchanged(sublayers.outer, notes, first, second):
            return hidden(loaded.model, inputs).clone()


# The capture


def trained(name):
    return load(
        resolve(str(ROOT / "example_site" / "models" / name), None, Settings(), ROOT), "cpu", head=True, attention=False
    )


def test_a_decoder_is_scored_by_its_next_tokens():
    loaded = trained("induction")
    text = "the rabbit hopped over the fence and the rabbit hopped"
    entry = captured(loaded, {"text": text}, ["zero", "swap"])
    ids = torch.tensor([example(loaded, {"text": text}, 99).text.ids])
    with torch.no_grad():
        expected = cross_entropy(loaded.model(ids).logits[0, :-1], ids[0, 1:])
    assert entry.meta["loss"] == {"value": pytest.approx(float(expected), rel=1e-5), "tokens": 9, "task": "next"}
    mlp = loaded.model.transformer.h[1].mlp.c_proj
    units = entry.meta["strips"]["self"]
    saved = copy.deepcopy(mlp.state_dict())
    for parameter in mlp.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        changed = cross_entropy(loaded.model(ids).logits[0, :-1], ids[0, 1:])
    mlp.load_state_dict(saved)
    assert units[3]["sublayers"][0]["zero"] == pytest.approx(float(changed - expected), abs=1e-5)
    assert [("swap" in unit) for unit in units] == [True, True, True, False]
    json.dumps(entry.meta)


def test_a_masked_model_is_scored_by_each_token_masked_in_turn():
    loaded = trained("agreement")
    text = "the keys to the cabinet are old"
    entry = captured(loaded, {"text": text}, ["zero"])
    ids, losses = torch.tensor([example(loaded, {"text": text}, 99).text.ids]), []
    for at in range(1, ids.shape[1] - 1):
        masked = ids.clone()
        masked[0, at] = loaded.tokenizer.mask_token_id
        with torch.no_grad():
            losses.append(cross_entropy(loaded.model(masked).logits[0, at : at + 1], ids[0, at : at + 1]))
    assert entry.meta["loss"]["task"] == "masked"
    assert entry.meta["loss"]["value"] == pytest.approx(float(sum(losses)) / len(losses), rel=1e-5)
    assert entry.meta["post_norm"] is True


def captured(loaded, inputs, ablate=()):
    corpus = Corpus(loaded, inputs, 99, 8, attention=False)
    return capture(Context(loaded, (), {"ablate": list(ablate)} if ablate else {}, corpus=corpus))[0]


def test_sums_over_a_corpus_are_those_of_its_texts():
    loaded = trained("induction")
    texts = ["the cat saw the dog", "the rabbit hopped over the fence", "the fox slept"]
    corpus = {"texts": [asdict(CorpusText(text)) for text in texts]}
    together = captured(loaded, {"corpus": corpus}, ["zero", "swap"]).meta
    alone = [captured(loaded, {"text": text}, ["zero", "swap"]).meta for text in texts]
    tokens = [meta["loss"]["tokens"] for meta in alone]
    assert (together["loss"]["texts"], together["loss"]["tokens"]) == (3, sum(tokens))
    assert "sequences" not in together

    def mean(value):
        return sum(value(meta) * count for meta, count in zip(alone, tokens, strict=True)) / sum(tokens)

    assert together["loss"]["value"] == pytest.approx(mean(lambda meta: meta["loss"]["value"]), rel=1e-4)
    for number in range(3):
        unit = together["strips"]["self"][number]
        assert unit["swap"] == pytest.approx(mean(lambda meta: meta["strips"]["self"][number]["swap"]), abs=1e-4)  # noqa: B023
        zero = mean(lambda meta: meta["strips"]["self"][number]["sublayers"][0]["zero"])  # noqa: B023
        assert unit["sublayers"][0]["zero"] == pytest.approx(zero, abs=1e-4)


def test_a_classifier_has_no_loss_to_tell():
    loaded = trained("reviews")
    assert captured(loaded, {"text": "a good film"}).meta["loss"] is None
    with pytest.raises(Unusable, match=r"`ablate` needs a loss, and model .* predicts no tokens"):
        captured(loaded, {"text": "a good film"}, ["zero"])


def test_neighbours_follow_each_other():
    loaded = tiny_models.tiny("t5")
    for units in find_sublayers(loaded, tiny_models.example(loaded)).units.values():
        assert all(one.end == other.start for one, other in pairwise(units))


# Orders that stand in a block


def block(body):
    return parse(Source(body), OPTIONS)


WRITTEN = "view: sublayers\nsublayers:\n  - ss|ff\n  - {order: sfc, name: mine, losses: [1.5, 1.7]}\nloss_label: nats"


def test_an_order_is_drawn_without_a_model_and_without_torch():
    written = block(WRITTEN)
    assert (written.models, written.names) == ([], "sublayers ss|ff and 1 more")
    entry = VIEWS["sublayers"].own_entry(written)
    drawing = VIEWS["sublayers"].drawing(written, entry)
    units = [
        [[each["kind"] for each in unit["sublayers"]] for unit in strip["units"]] for strip in drawing.data["strips"]
    ]
    assert units == [[["s"], ["s", "f"], ["f"]], [["s"], ["f"], ["c"]]]
    assert "in running order: ss|ff, mine sfc (s: self-attention" in drawing.sentence
    assert "The lowest mean nats is 1.6, of mine." in drawing.sentence
    assert drawing.picture.svg.count("<circle") == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sublayers: sxf", "`sublayers` has the order 'sxf'; its letters are s, f, c, m, e, at most 1,000"),
        ("sublayers: s||f", "`sublayers` has the order 's||f'"),
        ("sublayers: sf\nmodel: m", "`sublayers` stands in place of a model, so `model` does not belong in the block."),
        ("sublayers: sf\nablate: zero", "`ablate` needs a model; `sublayers` only names an order."),
        ("sublayers: sf\nloss_label: nats", "`loss_label` belongs to `losses`, which no order of `sublayers` has."),
        ("sublayers: [{name: mine}]", "has no `order`"),
        ("sublayers: []", "`sublayers` is []; it must be letters like sfsf"),
        ("text: a", "The block has no `model`; it must be an alias of the site"),
        ("model: m\ntext: a\nablate: one", "`ablate` is 'one'; it must be zero, swap or a list of both."),
    ],
)
def test_what_is_wrong_with_an_order_is_told(body, message):
    with pytest.raises(BlockError) as caught:
        block(f"view: sublayers\n{body}")
    assert message in caught.value.message


def test_the_schema_takes_an_order_in_place_of_a_model():
    validator = jsonschema.Draft202012Validator(json_schema(OPTIONS))
    good = [yaml.safe_load(WRITTEN), {"view": "sublayers", "sublayers": "sfsf"}]
    good += [{"view": "sublayers", "model": "m", "text": "a", "ablate": ["zero", "swap"]}]
    bad = [
        {"view": "sublayers", "sublayers": "sf", "model": "m", "text": "a"},
        {"view": "sublayers", "sublayers": "sx"},
    ]
    bad += [{"view": "head", "sublayers": "sf"}, {"view": "sublayers"}]
    assert all(map(validator.is_valid, good))
    assert not any(map(validator.is_valid, bad))


def test_a_site_of_orders_needs_no_cache(tmp_path):
    log = logging.getLogger("test")
    with Pipeline(Settings(on_missing="error"), tmp_path, log).build() as build:
        source = Source(WRITTEN, page="a.md", line=1)
        (figure,) = build.render([source])
        (status,) = block_statuses(build, [source])
        assert build.keys([source]) == [""]
    assert isinstance(figure, Figure)
    assert (status.state, status.key) == ("cached", None)
    assert not list(tmp_path.rglob("*.attnviz"))


def test_strips_stand_in_the_same_places_in_the_picture_and_in_the_page():
    """`frontend/test/strips.json` is read by the front end's tests, too."""
    for vector in json.loads((ROOT / "frontend" / "test" / "strips.json").read_text("utf-8")):
        strips = [strip | {"units": [_unit(unit) for unit in strip["order"]]} for strip in vector["strips"]]
        layout = layout_of(strips, vector["room"], bars=vector["bars"])
        assert [[place.x, place.y, place.width] for place in layout.places] == vector["boxes"]
        assert [layout.width, layout.height] == vector["size"]


def _unit(sublayers):
    return {"sublayers": [{"kind": kind, "parameters": size, "layer": layer} for kind, size, layer in sublayers]}


def test_the_page_has_the_losses_of_the_sweep():
    folder = ROOT / "example_site"
    runs = json.loads((folder / "models" / "sandwich" / "results.json").read_text("utf-8"))["runs"]
    page = (folder / "docs" / "learn" / "papers" / "press.md").read_text("utf-8")
    text = re.search(r"```attention\n([^`]*id: sweep\n[^`]*)```", page)[1]
    orders = block(text).options.sublayers
    assert [(order.order, list(order.losses)) for order in orders] == [(run["order"], run["losses"]) for run in runs]
    means = [sum(run["losses"]) / len(run["losses"]) for run in runs]
    assert all(f"{mean:.3f}" in page for mean in (means[0], means[1], means[5]))
    assert means[0] == min(means)


SUBLAYER = {"names": ["x"], "parameters": 100, "shared": False}
MEASURED = {
    "strips": {
        "encoder": [{"sublayers": [SUBLAYER | {"kind": "s", "layer": 0, "zero": 1.5}], "swap": 0.25}],
        "decoder": [
            {"sublayers": [SUBLAYER | {"kind": "s", "layer": 0, "zero": -0.5}], "swap": None},
            {"sublayers": [SUBLAYER | {"kind": "c", "layer": 0, "zero": 2.0}]},
        ],
    },
    "loss": {"value": 3.0, "tokens": 7, "task": "target"},
    "skips": 0,
    "between": 0,
    "post_norm": False,
}


@pytest.mark.parametrize(
    ("claim", "holds", "value"),
    [
        ("{stack: encoder, sublayer: s, is: 1.5}", True, "1.5"),
        ("{stack: encoder, sublayer: s, at_most: 1}", False, "1.5"),
        ("{sublayer: c, layer: 0, at_least: 2}", True, "2"),
        ("{measure: exchanged, stack: encoder, sublayer: s, is: 0.25}", True, "0.25"),
        ("{measure: exchanged, stack: decoder, sublayer: s, is: 0.25}", False, "not measured"),
        ("{measure: parameters, sublayer: c, is: 100}", True, "100"),
        ("{measure: loss, is: 3}", True, "3"),
        ("{strongest: {}, is: c 0}", True, "cross-attention"),
        ("{strongest: {stack: decoder}, is: s 0}", False, "cross-attention"),
    ],
)
def test_claims_about_sublayers(claim, holds, value):
    made = block(f"model: m\ntext: a\nview: sublayers\nablate: [zero, swap]\nexpect: [{claim}]")
    (verdict,) = judge(made, VIEWS["sublayers"], [Entry(MEASURED, {})])
    assert verdict.holds is holds
    assert value in verdict.value


def test_a_claim_about_a_sublayer_that_there_is_not_is_told():
    made = block("model: m\ntext: a\nview: sublayers\nablate: zero\nexpect: [{sublayer: m, is: 1}]")
    with pytest.raises(BlockError, match=r"`expect` names the sublayer m .* has s 0, c 0"):
        judge(made, VIEWS["sublayers"], [Entry(MEASURED, {})])
