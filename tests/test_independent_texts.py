"""The result for a text depends on that text alone, whatever a model has read before, and equals transformers' own."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import tiny_models
import torch
from test_coverage import check_weights, expected, floats, run

from mkdocs_attnviz.models.captures import attention
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.loading.isolation import Isolation
from mkdocs_attnviz.models.loading.load import NO_ATTENTION, Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded

SHORT, LONG = 11, 45
"""The lengths of two texts, one below and one above the length at which an architecture changes its attention."""
UNFIT = {"blt", "musicgen", "musicgen_melody", "perceiver", "whisper", "xlstm"}
"""Types without attention that read more than token ids, or cannot be built small."""
TYPES = [name for name in tiny_models.text_model_types() if name not in {*tiny_models.NOT_BUILT, *UNFIT}]
REFUSED = {
    "big_bird": "it uses block-sparse attention for longer texts",
    "bigbird_pegasus": "it uses block-sparse attention for longer texts",
    "deepseek_v4": "it uses summaries of its tokens, too, for longer texts",
}
"""Reasons that messages give for long texts whose attention cannot be shown."""


def captured(loaded, example):
    """Return what the model gives, and its attention, or why that cannot be shown."""
    outputs = [values.clone() for values in floats(run(loaded, example))[:1]]
    if loaded.ref.name in NO_ATTENTION:
        return outputs, ""
    try:
        return outputs, attention.capture(Context(loaded, [example]))[0]
    except (Unusable, ValueError) as error:
        return outputs, str(error)


def same(one, other):
    outputs = all(map(torch.equal, one[0], other[0]))
    if isinstance(one[1], str) or isinstance(other[1], str):
        return outputs and one[1] == other[1]
    return outputs and one[1].meta == other[1].meta and one[1].blobs == other[1].blobs


@pytest.mark.architectures
@pytest.mark.parametrize("model_type", TYPES)
def test_alone_and_after_others(model_type):
    """The same to the byte: a short text before and after a long one, and a long text alone and after a short one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = tiny_models.tiny(model_type, narrow=True)
        model.isolation.remove()  # its hooks would be copied, too
        fresh = Loaded(model.ref, copy.deepcopy(model.model), model.tokenizer, model.device)
        model = Loaded(model.ref, model.model, model.tokenizer, model.device)
        short, long = (tiny_models.example(model, length, length // 2) for length in (SHORT, LONG))
        first, then, again = (captured(model, text) for text in (short, long, short))
        alone = captured(fresh, long)
        assert same(first, again)
        assert same(then, alone)
        if isinstance(alone[1], str):
            check_refused(model_type, first[1], alone[1])
        else:
            check_weights(alone[1], expected(fresh, long))


def check_refused(model_type, short, long):
    """Check that the refusal of a long text names its reason, and that nothing else is refused for its length."""
    if model_type not in REFUSED:
        assert short == long
        return
    assert long.startswith("On a text of 45 tokens, model ")
    assert REFUSED[model_type] in long
    assert not isinstance(short, str)


class Forgetful(torch.nn.Module):
    """A model that changes in every way a pass can change it, and draws by every generator."""

    def __init__(self):
        super().__init__()
        self.count = 0
        self.part = torch.nn.Identity()
        self.register_buffer("seen", torch.zeros(1))
        self.dropout = torch.nn.Dropout(0.5).train()

    def forward(self, values):
        import random

        drawn = torch.rand(1) + np.random.rand() + random.random()
        found = self.dropout(torch.nn.functional.dropout(values, 0.5)) + self.count + self.seen + drawn
        found = self.part(found)
        self.count += 1
        self.seen += 1
        self.part = torch.nn.Flatten(0)
        return found


def test_a_pass_leaves_model_and_generators_as_they_were():
    model, values = Forgetful().eval(), torch.ones(2, 50)
    model.dropout.train()
    isolation = Isolation(model)
    torch.manual_seed(7)
    expected_draw = torch.rand(1)
    torch.manual_seed(7)
    first, second = model(values), model(values)
    assert torch.equal(torch.rand(1), expected_draw)
    assert torch.equal(first, second)
    assert first.unique().numel() == 1, "dropout is off"
    assert (model.count, float(model.seen), isolation.varies) == (0, 0.0, True)
    isolation.remove()
    assert not torch.equal(model(values).flatten(), first.flatten())


def test_what_changes_between_passes_is_kept_and_what_changes_in_one_is_not():
    model, values = Forgetful().eval(), torch.ones(2, 50)
    isolation = Isolation(model)
    model(values)
    model.count, model.part = 5, torch.nn.Sequential()
    model.seen += 3
    again = model(values)
    assert (model.count, float(model.seen), type(model.part)) == (5, 3.0, torch.nn.Sequential)
    assert torch.equal(again, model(values)), "the second of the same passes begins from the same state"
    assert (model.count, float(model.seen)) == (5, 3.0)
    isolation.remove()


def test_a_model_that_only_computes_is_looked_at_once():
    model = torch.nn.Sequential(*(torch.nn.BatchNorm1d(2) for _ in range(3))).eval()
    isolation = Isolation(model)
    model(torch.ones(1, 2))
    state = isolation._state
    model(torch.ones(1, 2))
    assert isolation._state is state is not None
    model[0].running_mean += 1
    model(torch.ones(1, 2))
    assert isolation._state is not state
    assert float(model[0].running_mean[0]) == 1
    model[1]._hf_hook = None  # accelerate moves its weights
    model(torch.ones(1, 2))
    assert isolation._state is None, "no reference keeps weights in memory"


def test_a_model_that_only_computes_is_not_run_text_by_text():
    model = torch.nn.Linear(2, 2)
    isolation = Isolation(model)
    model(torch.ones(1, 2))
    assert not isolation.varies
