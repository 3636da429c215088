"""The experts that are shown for a token are those that compute it, for each mixture that transformers has."""

from __future__ import annotations

import warnings

import mixtures
import pytest
import tiny_models
import torch

from mkdocs_attnviz.models.inputs.examples import collate
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.probing import routers
from mkdocs_attnviz.models.probing.router_signals import tensors

torch.set_num_threads(1)
TOKENS = 24
ALWAYS = [
    "dbrx",
    "deepseek_v3",
    "deepseek_v4",
    "gpt_oss",
    "jetmoe",
    "llama4_text",
    "longcat_flash",
    "mixtral",
    "phimoe",
    "switch_transformers",
    "zaya",
]
"""The mixtures that every run tests: each hands its choices over, scores or limits them in another way."""


TYPES = [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.architectures) for name in mixtures.READ]
"""Every type; those that are like another are tested in runs of all architectures only."""


def read(model_type):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = mixtures.mixture(model_type)
    example = tiny_models.example(loaded, text=TOKENS, target=TOKENS // 2)
    return loaded, example, routers.find_routings(loaded, example)


def outputs(loaded, example, name, before=lambda _: None):
    """Return what a module of the model gives for each token, (T, …), and call `before` with what it takes."""
    seen = []
    module = loaded.model.get_submodule(name)
    hooks = [
        module.register_forward_pre_hook(lambda _, args: before(args)),
        module.register_forward_hook(lambda *args: seen.append(next(tensors(args[-1])).clone())),
    ]
    with torch.inference_mode():
        loaded.model(**collate(loaded, [example]))
    for hook in hooks:
        hook.remove()
    return seen[0]


def weights_of(module, expert, experts):
    """Return what one expert's weights are in a module, found by the shapes that transformers' code gives them."""
    stacked = [each.data[expert] for each in module.parameters() if each.ndim == 3 and len(each) >= experts]
    child = dict(module.named_children()).get(f"expert_{expert}")
    listed = [] if child is None else [each.data for each in child.parameters()]
    rows = [each.data.view(experts, -1, each.shape[1])[expert] for each in module.parameters() if each.ndim == 2]
    return stacked or listed or rows


@pytest.mark.parametrize("model_type", TYPES)
def test_without_an_expert_exactly_its_tokens_change(model_type):
    loaded, example, found = read(model_type)
    assert found
    for routing in found:
        module, tokens = loaded.model.get_submodule(routing.module), len(routing.indices)
        before = outputs(loaded, example, routing.module).reshape(tokens, -1)
        experts = routing.experts - routing.without_weights
        for expert in range(experts):
            own = weights_of(module, expert, experts)
            kept = [each.clone() for each in own]
            for each in own:
                each.zero_()
            after = outputs(loaded, example, routing.module).reshape(tokens, -1)
            for each, values in zip(own, kept, strict=True):
                each.copy_(values)
            changed = (after != before).any(-1)
            assert torch.equal(changed, (routing.indices == expert).any(-1)), f"layer {routing.layer}, expert {expert}"


@pytest.mark.parametrize("model_type", TYPES)
def test_a_batch_without_its_padding_is_its_texts_one_by_one(model_type):
    loaded = mixtures.mixture(model_type)
    examples = [tiny_models.example(loaded, text=size, target=size // 2) for size in (9, TOKENS, 17)]
    alone = [routers.find_routings(loaded, example) for example in examples]
    together = routers.read_routings(loaded, examples)
    for routing, parts in zip(together, zip(*alone, strict=True), strict=True):
        assert (routing.stack, routing.part, routing.layer, routing.experts) == (
            (parts[0].stack, parts[0].part, parts[0].layer, parts[0].experts)
        )
        assert torch.equal(routing.indices.sort(-1).values, torch.cat([part.indices for part in parts]).sort(-1).values)
        torch.testing.assert_close(
            routing.weights, torch.cat([part.weights for part in parts]), atol=1e-4, rtol=1e-3, check_dtype=False
        )
        if parts[0].scores is not None:
            whole = torch.cat([part.scores.distribution for part in parts])
            torch.testing.assert_close(routing.scores.distribution, whole, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("model_type", ["dbrx", "deepseek_v3", "gpt_oss", "longcat_flash", "mixtral", "phimoe"])
def test_the_weighted_outputs_of_the_chosen_experts_are_the_output_of_the_mixture(model_type):
    loaded, example, found = read(model_type)
    routing, taken = found[-1], []
    expected = outputs(loaded, example, routing.module, before=taken.append).reshape(TOKENS, -1)
    hidden, module = taken[0][0], loaded.model.get_submodule(routing.module)
    total = torch.zeros_like(expected)
    with torch.inference_mode():
        for expert in range(routing.experts):
            everywhere = torch.full((TOKENS, 2), expert)
            alone = module(hidden, everywhere, torch.tensor([[1.0, 0.0]]).repeat(TOKENS, 1)).reshape(TOKENS, -1)
            total += (routing.weights * (routing.indices == expert)).sum(-1, keepdim=True) * alone
    torch.testing.assert_close(total, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("model_type", ["gpt_oss", "mixtral", "olmoe", "phimoe", "qwen3_moe"])
def test_the_distribution_is_that_of_the_model_s_own_router_logits(model_type):
    loaded, example, found = read(model_type)
    with torch.inference_mode():
        logits = loaded.model(**collate(loaded, [example]), output_router_logits=True, return_dict=True).router_logits
    assert len(logits) == len(found)
    for routing, own in zip(found, logits, strict=True):
        torch.testing.assert_close(routing.scores.distribution, own.softmax(-1), atol=1e-6, rtol=1e-4)
        assert torch.equal(routing.indices.sort(-1).values, own.topk(2, dim=-1).indices.sort(-1).values)
        assert routing.scores.function == "softmax"


def test_sigmoid_scores_with_limited_groups_and_a_correction_are_those_of_the_model():
    loaded, example, found = read("deepseek_v3")
    gate = loaded.model.layers[1].mlp.gate
    taken = []
    outputs(loaded, example, "layers.1.mlp.gate", before=taken.append)
    hidden = taken[0][0].reshape(TOKENS, -1).clone()
    scores = torch.nn.functional.linear(hidden, gate.weight.detach()).sigmoid()
    torch.testing.assert_close(found[0].scores.distribution, scores / scores.sum(-1, keepdim=True))
    assert found[0].scores.function == "sigmoid"
    plain = scores.topk(2, dim=-1).indices.sort(-1).values
    assert not torch.equal(plain, found[0].indices.sort(-1).values), "groups and correction decide some tokens"


def test_dropped_and_skipped_tokens_have_no_expert():
    _, _, found = read("switch_transformers")
    encoder = found[0]
    assert (encoder.stack, encoder.indices.shape) == ("encoder", (TOKENS, 1))
    counts = torch.bincount(encoder.indices[encoder.indices >= 0], minlength=8)
    assert counts.max() == 4, "the capacity of its configuration"
    assert (encoder.indices < 0).any()
    _, _, found = read("zaya")
    assert (found[0].indices < 0).any()
    assert found[0].without_weights == 1


def test_attention_experts_have_a_part_of_their_own():
    _, _, found = read("jetmoe")
    assert [(each.part, each.layer) for each in found] == [
        ("attention", 0),
        ("feed_forward", 0),
        ("attention", 1),
        ("feed_forward", 1),
    ]


def test_shared_experts_are_told():
    assert all(each.shared for each in read("deepseek_v3")[2])
    assert not any(each.shared for each in read("mixtral")[2])


@pytest.mark.parametrize("model_type", mixtures.NOT_READ)
def test_a_mixture_that_cannot_be_read_is_refused(model_type):
    with pytest.raises(Unusable, match=mixtures.NOT_READ[model_type]):
        read(model_type)


def test_a_model_without_experts_is_refused():
    loaded = tiny_models.tiny("llama")
    with pytest.raises(Unusable, match=r"^Model 'llama' \(llama\) has no mixture of experts"):
        routers.find_routings(loaded, tiny_models.example(loaded))


def test_a_model_that_computes_with_other_experts_than_it_names_is_refused():
    loaded = mixtures.mixture("mixtral")
    experts = loaded.model.layers[0].mlp.experts
    forward = experts.forward
    experts.forward = lambda hidden, index, weights: forward(hidden, (index + 1) % 8, weights)
    with pytest.raises(Unusable, match="does not compute a token with the experts that its router chose"):
        routers.find_routings(loaded, tiny_models.example(loaded))


def test_a_last_bit_that_differs_between_two_runs_is_no_reason_to_refuse():
    loaded = mixtures.mixture("mixtral")
    experts = loaded.model.layers[0].mlp.experts
    forward = experts.forward
    experts.forward = lambda *args: (
        forward(*args) * (1 + torch.finfo(torch.float32).eps * torch.randint(-1, 2, (11, 1)))
    )
    assert len(routers.find_routings(loaded, tiny_models.example(loaded))) == 2


def test_weights_are_as_they_were_after_the_check():
    loaded = mixtures.mixture("mixtral")
    before = {name: each.clone() for name, each in loaded.model.state_dict().items()}
    routers.find_routings(loaded, tiny_models.example(loaded))
    assert all(torch.equal(each, before[name]) for name, each in loaded.model.state_dict().items())
