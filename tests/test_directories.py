"""Saved models of every text model type, whole and damaged: what is drawn is transformers' own attention."""

from __future__ import annotations

import json
import re
import sys
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

sys.path.insert(0, str(Path(__file__).parent))
import test_coverage
import tiny_models

from mkdocs_attnviz.models.captures import attention
from mkdocs_attnviz.models.captures.context import Context
from mkdocs_attnviz.models.identity.reference import resolve
from mkdocs_attnviz.models.loading.load import NO_ATTENTION, Unusable, load
from mkdocs_attnviz.settings import Settings

TABLE = json.loads(test_coverage.TABLE.read_text())["types"]
TYPES = [name for name in test_coverage.TYPES if name not in NO_ATTENTION and name not in tiny_models.NOT_BUILT]
WHY = re.compile(r"is not complete|of other shapes|cannot be loaded|no trained head")
"""Reasons for refusing a model whose weights are not those that its configuration needs."""
BUILT_IN = {"canine", "esmc"}
"""Types whose tokenizers are in their code, so that they need no file."""

OWN = """
import transformers

class Own(transformers.{name}):
    pass
"""


class Directory:
    """A tiny model of a type, saved."""

    def __init__(self, folder, model_type):
        self.folder = folder
        self.tiny = tiny_models.tiny(model_type)
        self.example = tiny_models.example(self.tiny)
        self.tiny.model.save_pretrained(folder)
        self.kind = type(self.tiny.model)
        self.weights = load_file(folder / "model.safetensors")
        self.config = json.loads((folder / "config.json").read_text())
        model, report = self.kind.from_pretrained(folder, attn_implementation="eager", output_loading_info=True)
        self.whole = not report["missing_keys"]
        """True if transformers can read what it has written, which is not so for every type."""
        self.truth = None
        if "stacks" in TABLE[model_type] and self.whole:
            self.truth = test_coverage.expected(replace(self.tiny, model=model.eval()), self.example)
        del self.tiny  # some are large, whatever is set

    def save(self, weights=None, tokenizer=True, **changes):
        for file in self.folder.iterdir():
            file.unlink()
        save_file(self.weights if weights is None else weights, self.folder / "model.safetensors", {"format": "pt"})
        (self.folder / "config.json").write_text(json.dumps(self.config | changes))
        if tokenizer:
            vocabulary = {f"w{n}": n for n in range(tiny_models.VOCABULARY)}
            backend = Tokenizer(models.WordLevel(vocabulary, unk_token="w1"))
            backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
            fast = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="w1", pad_token="w0")
            fast.save_pretrained(self.folder)

    def loaded(self, **settings):
        """Return the model as a worker loads it, or the reason why it is refused."""
        ref = resolve(str(self.folder), None, Settings(**settings), self.folder)
        try:
            return load(ref, "cpu", attention=True)
        except Unusable as error:
            return str(error)

    def check(self, loaded, *, refused):
        """Check that it is refused for the given reason, or that its attention is transformers' own of the
        whole model.
        """
        if isinstance(loaded, str):
            assert re.search(refused, loaded), loaded
        elif self.truth is not None:
            try:
                entry = attention.capture(Context(loaded, [self.example]))[0]
            except Unusable as error:  # what was missing was met by this text, not by the short one at loading
                return self.check(str(error), refused="does not give the same output twice")
            test_coverage.check_weights(entry, self.truth)
        return None


@pytest.mark.architectures
@pytest.mark.parametrize("model_type", TYPES)
def test_saved_and_damaged(tmp_path, model_type):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        saved = Directory(tmp_path, model_type)
        whole(saved)
        a_weight_is_missing(saved)
        a_prefix_is_before_all_names(saved)
        there_is_no_tokenizer(saved, model_type)
        there_is_code_of_its_own(saved)


def whole(saved):
    saved.save()
    loaded = saved.loaded()
    assert isinstance(loaded, str) != saved.whole, loaded
    saved.check(loaded, refused=WHY)


def a_weight_is_missing(saved):
    """A different weight is removed for each type."""
    dropped = min(saved.weights, key=lambda name: zlib.crc32(f"{saved.config['model_type']} {name}".encode()))
    saved.save({name: value for name, value in saved.weights.items() if name != dropped})
    saved.check(saved.loaded(), refused=WHY)


def a_prefix_is_before_all_names(saved):
    saved.save({f"_orig_mod.{name}": value for name, value in saved.weights.items()})
    assert "'_orig_mod." in saved.loaded()


def there_is_no_tokenizer(saved, model_type):
    saved.save(tokenizer=False)
    loaded = saved.loaded()
    assert isinstance(loaded, str) != (model_type in BUILT_IN)
    saved.check(loaded, refused=r"has no tokenizer|needs a library")


def there_is_code_of_its_own(saved):
    """The model's own class computes the same. transformers renames no weights for it, as it does for
    its own classes.
    """
    saved.save(auto_map={"AutoModel": "own.Own"})
    (saved.folder / "own.py").write_text(OWN.format(name=saved.kind.__name__))
    assert "needs Python code of its own to run" in saved.loaded()
    loaded = saved.loaded(trust_remote_code=True)
    assert isinstance(loaded, str) or type(loaded.model).__name__ == "Own"
    saved.check(loaded, refused=WHY)
