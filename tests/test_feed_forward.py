"""The feed-forward neurons of a layer are found by running it, in models that name their parts as they like."""

import pytest
import tiny_models
import torch
from conftest import INDUCTION, ROOT

from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.inputs.examples import collate, example
from mkdocs_attnviz.models.loading.load import Unusable, load
from mkdocs_attnviz.models.probing import feed_forward
from mkdocs_attnviz.settings import Settings

torch.set_num_threads(1)

# What transformers 5 calls the layer that reads the neurons, and how many there are.
DOWN = {
    "albert": ("encoder.albert_layer_groups.0.albert_layers.0.ffn_output", 48),
    "bert": ("encoder.layer.{}.output.dense", 48),
    "bloom": ("h.{}.mlp.dense_4h_to_h", 128),
    "deberta-v2": ("encoder.layer.{}.output.dense", 48),
    "distilbert": ("transformer.layer.{}.ffn.lin2", 48),
    "falcon": ("h.{}.mlp.dense_4h_to_h", 48),
    "gemma": ("layers.{}.mlp.down_proj", 48),
    "gpt2": ("h.{}.mlp.c_proj", 128),
    "openai-gpt": ("h.{}.mlp.c_proj", 128),
    "gpt_neox": ("layers.{}.mlp.dense_4h_to_h", 48),
    "llama": ("layers.{}.mlp.down_proj", 48),
    "mistral": ("layers.{}.mlp.down_proj", 48),
    "opt": ("decoder.layers.{}.fc2", 48),
    "phi": ("layers.{}.mlp.fc2", 48),
    "qwen2": ("layers.{}.mlp.down_proj", 48),
}
BOTH = {
    "bart": ("model.{}.layers.{}.fc2", "model.{}.layers.{}.fc2"),
    "marian": ("model.{}.layers.{}.fc2", "model.{}.layers.{}.fc2"),
    "t5": ("{}.block.{}.layer.1.DenseReluDense.wo", "{}.block.{}.layer.2.DenseReluDense.wo"),
}


@pytest.mark.parametrize("model_type", DOWN)
def test_found_by_running(model_type):
    loaded = tiny_models.tiny(model_type)
    given = tiny_models.example(loaded)
    name, neurons = DOWN[model_type]
    found = feed_forward.down_projections(loaded, given)
    expected = {layer: loaded.model.get_submodule(name.format(layer)) for layer in range(2)}
    assert found == {"self": expected}
    shapes = [each.shape for each in feed_forward.activations(loaded, given, found)["self"].values()]
    assert shapes == [(11, neurons)] * 2


def test_a_narrow_network_beside_it_is_not_taken_for_it(monkeypatch):
    """Gemma 3n has one that mixes in what it knows of each token, after the feed-forward network."""
    narrow = tiny_models.OVERRIDES["gemma3n_text"] | {"hidden_size_per_layer_input": 16, "laurel_rank": 16}
    monkeypatch.setitem(tiny_models.OVERRIDES, "gemma3n_text", narrow)
    loaded = tiny_models.tiny("gemma3n_text")
    found = feed_forward.down_projections(loaded, tiny_models.example(loaded))["self"]
    assert found == {layer: each.mlp.down_proj for layer, each in enumerate(loaded.model.layers)}


@pytest.mark.parametrize("model_type", BOTH)
def test_an_encoder_and_its_decoder_are_kept_apart(model_type):
    loaded = tiny_models.tiny(model_type)
    given = tiny_models.example(loaded)
    found = feed_forward.down_projections(loaded, given)
    for stack, name, length in zip(("encoder", "decoder"), BOTH[model_type], (11, 6), strict=True):
        assert found[stack] == {layer: loaded.model.get_submodule(name.format(stack, layer)) for layer in range(2)}
        values = feed_forward.activations(loaded, given, found)[stack]
        assert [each.shape for each in values.values()] == [(length, 48)] * 2


def test_a_shared_layer_is_read_at_each_of_its_calls():
    loaded = tiny_models.tiny("albert")
    given = tiny_models.example(loaded)
    found = feed_forward.activations(loaded, given, feed_forward.down_projections(loaded, given))["self"]
    read = []
    hook = found_module(loaded).register_forward_pre_hook(lambda _, args: read.append(args[0][0]))
    with torch.no_grad():
        loaded.model(**collate(loaded, [given]))
    hook.remove()
    assert len(read) == 2
    assert torch.equal(found[0], read[0])
    assert torch.equal(found[1], read[1])
    assert not torch.equal(found[0], found[1])


def found_module(loaded):
    return loaded.model.get_submodule(DOWN["albert"][0])


def test_a_real_model_with_its_head():
    loaded = load(resolve(INDUCTION, None, Settings(), ROOT), "cpu", head=True, attention=False)
    found = feed_forward.down_projections(loaded, example(loaded, {"text": "the rabbit hopped"}, 99))
    assert found["self"] == {layer: block.mlp.c_proj for layer, block in enumerate(loaded.model.transformer.h)}


@pytest.mark.parametrize("model_type", ["mixtral", "qwen2_moe", "mamba", "mobilebert"])
def test_a_model_without_them_is_refused(model_type):
    loaded = tiny_models.tiny(model_type)
    with pytest.raises(Unusable, match=rf"The feed-forward neurons of model '{model_type}' \({model_type}\) cannot"):
        feed_forward.down_projections(loaded, tiny_models.example(loaded))
