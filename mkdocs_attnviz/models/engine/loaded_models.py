"""The models that a worker has in memory."""

from __future__ import annotations

import gc
import importlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from mkdocs_attnviz.block.problem import Problem, trace
from mkdocs_attnviz.models import errors
from mkdocs_attnviz.models.engine.downloads import Tell, loading
from mkdocs_attnviz.models.identity.reference import ModelRef

if TYPE_CHECKING:
    from mkdocs_attnviz.models.loading.loaded import Loaded

KEPT = 2  # the number of models that stay loaded under `serve`; one job may need two


class LoadKey(NamedTuple):
    """The way in which a model was loaded, by which it is found in memory."""

    ref: ModelRef
    device: str
    head: bool
    """True if it has the head that it was trained with."""
    apart: bool
    """True if it is a second copy of its kind, beside one that interventions change."""


class LoadedModels:
    """The models in memory, the last used at the end. Creating it imports torch."""

    def __init__(self, tell: Tell = lambda _: None) -> None:
        self.tell = tell
        self.folder: str | None = None
        """The folder for files with the blobs of large entries; None if they must not go by files."""
        self.problem: Problem | None = None
        """The reason why no model can run here; None if models can."""
        self.loaded: OrderedDict[LoadKey, Loaded] = OrderedDict()
        self.needed: list[LoadKey] = []
        """The models that the current job needs."""
        try:
            self.load = _quiet_import()
            self.memory = importlib.import_module("mkdocs_attnviz.models.loading.memory")
        except ImportError as error:
            why = (
                f"Running a model needs torch and transformers ({error}); "
                "install them with `pip install 'attnviz[torch]'`, or build where the cache is complete."
            )
            self.problem = Problem("model", "model", why, trace(error))
        except Exception as error:  # any library that they import may raise anything
            message = errors.error_message(error)
            why = f"Running a model needs torch and transformers, which cannot be imported ({message})."
            self.problem = Problem("model", "model", why, trace(error))

    def get(
        self, refs: Mapping[str, ModelRef], device: str, *, head: bool, attention: bool, changed: bool
    ) -> dict[str, Loaded]:
        """Return the models of a job, all in memory at once, by the keys that name them.

        `attention` tells whether they must have attention weights. `changed` tells whether the block's own model will
        be changed while it runs: if it is compared with itself, it is loaded twice.

        Raises:
            Unusable: a model cannot be loaded; its key is in the error.
        """
        loaded_models: dict[str, Loaded] = {}
        self.needed = []
        # a model with a `device_map` takes all memory that is left, so it comes last
        for key in sorted(refs, key=lambda key: bool(refs[key].device_map)):
            apart = changed and key != "model" and refs[key] == refs["model"]
            try:
                loaded_models[key] = self._get(LoadKey(refs[key], device, head, apart), attention)
            except self.load.Unusable as error:
                error.key = key
                if loaded_models and isinstance(error, self.load.TooLarge):
                    there = ", ".join(repr(loaded.ref.name) for loaded in loaded_models.values())
                    both = f"Models that are compared are in memory together, and {there} is there already."
                    error.args = (f"{error} {both}",)
                raise
        return loaded_models

    def _get(self, key: LoadKey, attention: bool) -> Loaded:
        """Return one model, loading it if it is not in memory.

        Raises:
            Unusable: it cannot be loaded, or has no attention weights.
        """
        self.needed.append(key)
        if attention and key in self.loaded:
            self.load.check_attention(key.ref.name, self.loaded[key].model.config)
        if key not in self.loaded:
            spare = [other for other in self.loaded if other not in self.needed]
            if spare and len(self.loaded) >= KEPT:
                del self.loaded[spare[0]]
                self.memory.free()
            if key.ref.device_map:  # its map is made for the memory that is free
                self.keep_needed()
            try:
                self._load(key, attention)
            except self.load.TooLarge:
                if all(other in self.needed for other in self.loaded):
                    raise
        if key not in self.loaded:  # it does not fit beside others
            self.keep_needed()
            self._load(key, attention)
        self.loaded.move_to_end(key)
        return self.loaded[key]

    def _load(self, key: LoadKey, attention: bool) -> None:
        """Load one model.

        Raises:
            Unusable: it cannot be loaded.
        """
        # for an adapter, the base may have to be downloaded
        source = replace(key.ref.base or key.ref, name=key.ref.name)
        with loading(source, self.tell):
            self.loaded[key] = self.load.load(key.ref, key.device, head=key.head, attention=attention)

    def keep_needed(self) -> bool:
        """Free the memory of models that the current job does not use; return whether there were any."""
        others = [key for key in self.loaded if key not in self.needed]
        for key in others:
            del self.loaded[key]
        if others:
            self.memory.free()
        return bool(others)


def _quiet_import() -> ModuleType:
    """Import torch and transformers, which log nothing from then on.

    The garbage collector would look again and again at what has been imported, which takes a sixth of the time.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        load = importlib.import_module("mkdocs_attnviz.models.loading.load")
    finally:
        if collects:
            gc.enable()
    load.transformers.logging.set_verbosity_error()
    load.transformers.logging.disable_progress_bar()
    return load
