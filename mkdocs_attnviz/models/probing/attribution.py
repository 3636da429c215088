"""A model as a function of its input embeddings, and Captum's methods on it.

What a token's embedding contributes is asked of the embedding module's output: a hook puts other embeddings in its
place. So it works for every architecture, those that scale their embeddings afterwards or take no `inputs_embeds`
included, and positions are counted from the ids as ever.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.models.inputs.examples import accepted, collate
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded

AT_ONCE = 16
"""Points on the path, or texts with something taken out, that go through a model together."""
PERTURBING = ("occlusion", "feature_ablation")
"""Methods that say one number for a whole token, not one for each dimension of its embedding."""

Embeddings = tuple[torch.Tensor, ...]
"""(B, T, E) for each sequence that a model reads: its text, and what its decoder reads."""


@dataclass(frozen=True)
class Found:
    """What was found of one output."""

    values: list[torch.Tensor]
    """For each sequence that the model reads, (T,)."""
    value: float
    """What is explained."""
    baseline: float | None
    """The same of the baseline, for methods that compare with one."""
    delta: float | None
    """How far the values' sum is from the difference of these two, as Captum says it."""


class Explained(torch.nn.Module):
    """Embeddings, (B, T, E) a sequence → what is explained, (B, 1). The model is left as it was by `close`."""

    def __init__(self, loaded: Loaded, example: Example, score: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """`score` takes logits as the model returns them."""
        super().__init__()
        self.model = loaded.model
        self.score = score
        self.name = loaded.ref.name
        self.logits_of = loaded.logits_of
        self.inputs = collate(loaded, [example])
        taken = accepted(loaded.model)
        self.more: dict[str, Any] = {"use_cache": False} if "use_cache" in taken else {}
        if loaded.task == "next" and "logits_to_keep" in taken:
            self.more["logits_to_keep"] = 1
        self.lengths = [len(part.ids) for part in (example.text, example.target) if part is not None]
        self.twice = loaded.encoder_decoder and example.target is None
        """Whether a decoder reads the text again, one token on, as those of classifiers do."""
        start = getattr(loaded.model.config, "decoder_start_token_id", None)
        self.wraps = start is None or start != int(self.inputs["input_ids"][0, -1])
        """Whether what it begins with may be the text's last token (MBart), and not one of its own."""
        self._given: list[torch.Tensor] = []
        self._seen: list[torch.Tensor] = []
        self._hooks = [module.register_forward_hook(self._embedding) for module in _embeddings(loaded)]

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _embedding(self, _: Any, args: tuple[Any, ...], output: Any) -> Any:
        """Put what is given in place of a module's output. I-BERT's returns the scale of its numbers beside them."""
        if isinstance(output, tuple):
            found = self._in_place_of(args, output[0])
            return None if found is None else (found, *output[1:])
        return self._in_place_of(args, output)

    def _in_place_of(self, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor | None:
        """Models may go on to change these in place (CTRL scales them): what is kept and what is given are copies."""
        at = len(self._seen)
        if self.twice and at == 1 and self._given and output.shape[1] == self.lengths[0]:
            given = self._given[0]
            if self.wraps and bool((args[0][:, 0] == self.inputs["input_ids"][:, -1]).all()):
                return given.roll(1, dims=1)
            return torch.cat([output[:, :1], given[:, :-1]], dim=1)
        if at == len(self.lengths) or output.dim() != 3 or output.shape[1] != self.lengths[at]:
            return None
        self._seen.append(output if self._given else output.detach().clone())
        return self._given[at].clone() if self._given else None

    def embeddings(self) -> Embeddings:
        """Those of the tokens themselves, (1, T, E) each.

        Raises:
            Unusable: they cannot be got hold of.
        """
        with torch.no_grad():
            self._run(1)
        return tuple(self._seen)

    def forward(self, *embeddings: torch.Tensor) -> torch.Tensor:
        """Of many at once no more than `AT_ONCE` are kept for the way back: the others run again then."""
        if len(embeddings[0]) <= AT_ONCE:
            return self._scored(*embeddings)
        parts = zip(*(torch.split(part, AT_ONCE) for part in embeddings), strict=True)
        return torch.cat([checkpoint(self._scored, *part, use_reentrant=False) for part in parts])

    def _scored(self, *embeddings: torch.Tensor) -> torch.Tensor:
        self._given = list(embeddings)
        try:
            return self.score(self._run(len(embeddings[0])))[:, None]
        finally:
            self._given = []

    def _run(self, batch: int) -> torch.Tensor:
        self._seen = []
        inputs = {name: value.expand(batch, *value.shape[1:]) for name, value in self.inputs.items()}
        logits = self.logits_of(self.model(**inputs, **self.more, return_dict=True))
        if len(self._seen) != len(self.lengths):
            raise Unusable(_no_one_module(self.name))
        return logits.float()


def _embeddings(loaded: Loaded) -> list[torch.nn.Module]:
    """The modules that turn ids into vectors; often the same for encoder and decoder."""
    model = loaded.model
    parts = [model.get_encoder(), model.get_decoder()] if loaded.encoder_decoder else [model]
    found = (_embedding_of(loaded, part) for part in parts)
    return list({id(module): module for module in found}.values())


def _embedding_of(loaded: Loaded, part: torch.nn.Module) -> torch.nn.Module:
    """Return the module that embeds what a part reads. FSMT's encoder and decoder have it, and no method that says so.

    Raises:
        Unusable: there is no one module.
    """
    try:
        module = part.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        module = getattr(part, "embed_tokens", None)
    if not isinstance(module, torch.nn.Module):
        raise Unusable(_no_one_module(loaded.ref.name))
    return module


def _no_one_module(name: str) -> str:
    return (
        f"Model {name!r} does not embed its tokens by one module that others could be put in place of, so that nothing "
        "can be attributed to them."
    )


@contextmanager
def explaining(
    loaded: Loaded, example: Example, score: Callable[[torch.Tensor], torch.Tensor]
) -> Iterator[tuple[Explained, Embeddings]]:
    """The function and where it is to be explained. Gradients are taken of embeddings alone, not of weights."""
    asked = [parameter for parameter in loaded.model.parameters() if parameter.requires_grad]
    function = Explained(loaded, example, score)
    try:
        for parameter in asked:
            parameter.requires_grad_(False)
        yield function, function.embeddings()
    finally:
        function.close()
        for parameter in asked:
            parameter.requires_grad_(True)


def attribute(
    loaded: Loaded,
    example: Example,
    score: Callable[[torch.Tensor], torch.Tensor],
    parameters: Mapping[str, Any],
) -> Found:
    """What each token of the example adds to the score, by a method of Captum.

    Raises:
        Unusable: the method does not apply to this model.
        ValueError: a parameter does not fit it.
    """
    method, norm = parameters["method"], parameters["norm"]
    with explaining(loaded, example, score) as (function, embeddings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that hooks are set, and the like
        baselines = _baselines(loaded, embeddings, parameters.get("baseline"))
        with torch.no_grad():
            value = float(function(*embeddings))
            baseline = None if baselines is None else float(function(*baselines))
        found, delta = METHODS[method](function, loaded, embeddings, baselines, parameters)
    return Found([loaded.numbers(_per_token(part, method, norm)) for part in found], value, baseline, delta)


def _per_token(values: torch.Tensor, method: str, norm: str) -> torch.Tensor:
    """(1, T, E) → (T,)"""
    values = values[0].detach().float().cpu()
    if method in PERTURBING:  # the same number in every dimension
        return values[:, 0] if norm == "sum" else values[:, 0].abs()
    return values.sum(-1) if norm == "sum" else values.norm(dim=-1)


def _baselines(loaded: Loaded, embeddings: Embeddings, kind: str | None) -> Embeddings | None:
    """Zeros, or the padding token's embedding; None for methods that compare with nothing."""
    if kind is None:
        return None
    if kind == "zero":
        return tuple(torch.zeros_like(part) for part in embeddings)
    if loaded.tokenizer.pad_token_id is None:
        raise WrongValue(
            "baseline", f"`baseline` is pad, and the tokenizer of model {loaded.ref.name!r} has no padding token."
        )
    modules = _embeddings(loaded)
    pad = torch.tensor([[loaded.pad]], device=loaded.device)
    with torch.no_grad():
        padding = [found[0] if isinstance(found, tuple) else found for found in (module(pad) for module in modules)]
    return tuple(
        padding[min(number, len(padding) - 1)].expand_as(part).clone() for number, part in enumerate(embeddings)
    )


Taken = tuple[Sequence[torch.Tensor], float | None]


def _gradients(name: str, **fixed: Any) -> Callable[..., Taken]:
    """A method that only needs gradients at the embeddings themselves."""

    def take(function: Explained, _: Loaded, embeddings: Embeddings, *__: Any) -> Taken:
        return getattr(_captum(), name)(function).attribute(embeddings, target=0, **fixed), None

    return take


def _compared(name: str, options: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Callable[..., Taken]:
    """A method that compares with a baseline, and says how far it is from complete."""

    def take(
        function: Explained,
        loaded: Loaded,
        embeddings: Embeddings,
        baselines: Embeddings,
        parameters: Mapping[str, Any],
    ) -> Taken:
        if name == "DeepLift":
            _check_reuse(function, loaded, embeddings)
        with _seeded(parameters.get("seed")):
            method = getattr(_captum(), name)(function)
            found, delta = method.attribute(
                embeddings, baselines=baselines, target=0, return_convergence_delta=True, **options(parameters)
            )
        return found, float(delta.mean())

    return take


def _rectified(name: str) -> Callable[..., Taken]:
    """A method that changes how gradients go through rectifiers."""

    def take(function: Explained, loaded: Loaded, embeddings: Embeddings, *_: Any) -> Taken:
        if not any(isinstance(module, torch.nn.ReLU) for module in loaded.model.modules()):
            method = {"GuidedBackprop": "guided_backprop", "Deconvolution": "deconvolution"}[name]
            used = getattr(loaded.model.config.get_text_config(), "hidden_act", None)
            raise Unusable(
                f"`method` is {method}, which changes how gradients pass ReLU modules, and model "
                f"{loaded.ref.name!r} has none{f' (it uses {used})' if isinstance(used, str) else ''}.",
                "method",
            )
        return getattr(_captum(), name)(function).attribute(embeddings, target=0), None

    return take


def _layer(function: Explained, loaded: Loaded, embeddings: Embeddings, _: Any, parameters: Mapping[str, Any]) -> Taken:
    """Gradient × activation at the output of a layer, in encoder and decoder alike."""
    parts = [loaded.model.get_encoder(), loaded.model.get_decoder()] if loaded.encoder_decoder else [loaded.model]
    parts = parts[: len(embeddings)]  # of a classifier's text, which its decoder reads again, the encoder's
    layers = [_block(loaded, part, parameters["layer"]) for part in parts]
    with torch.no_grad(), _counting(layers) as calls:
        function(*embeddings)
    if any(count != 1 for count in calls.values()):
        raise Unusable(
            f"`method` is layer_gradient_x_activation, which needs a module for each layer, and model "
            f"{loaded.ref.name!r} runs one several times.",
            "method",
        )
    try:
        found = _captum().LayerGradientXActivation(function, layers).attribute(embeddings, target=0)
    except AssertionError:  # Captum's own, where a layer returns something that is no tensor
        raise Unusable(
            f"`method` is layer_gradient_x_activation, and the layers of model {loaded.ref.name!r} return more than "
            "vectors, which Captum does not take.",
            "method",
        ) from None
    return [part[0] if isinstance(part, (tuple, list)) else part for part in found], None


def _block(loaded: Loaded, part: torch.nn.Module, layer: int) -> torch.nn.Module:
    lists = (module for module in part.modules() if isinstance(module, torch.nn.ModuleList) and len(module))
    blocks = next(lists, None)
    if blocks is None:
        raise Unusable(
            f"`method` is layer_gradient_x_activation, and the layers of model {loaded.ref.name!r} are not in a list.",
            "method",
        )
    if layer >= len(blocks):
        raise WrongValue("layer", f"`layer` is {layer}; model {loaded.ref.name!r} has layers 0 to {len(blocks) - 1}.")
    return blocks[layer]


def _occlusion(
    function: Explained, _: Loaded, embeddings: Embeddings, baselines: Embeddings, parameters: Mapping[str, Any]
) -> Taken:
    window = parameters["window"]
    shapes = tuple((min(window, part.shape[1]), part.shape[2]) for part in embeddings)
    found = (
        _captum()
        .Occlusion(function)
        .attribute(
            embeddings, sliding_window_shapes=shapes, baselines=baselines, target=0, perturbations_per_eval=AT_ONCE
        )
    )
    return found, None


def _ablation(function: Explained, _: Loaded, embeddings: Embeddings, baselines: Embeddings, __: Any) -> Taken:
    """Token by token: one number in the mask for each, counted through both sequences."""
    masks, start = [], 0
    for part in embeddings:
        numbers = torch.arange(start, start + part.shape[1], device=part.device)
        masks.append(numbers[None, :, None].expand_as(part))
        start += part.shape[1]
    found = (
        _captum()
        .FeatureAblation(function)
        .attribute(embeddings, baselines=baselines, target=0, feature_mask=tuple(masks), perturbations_per_eval=AT_ONCE)
    )
    return found, None


METHODS: Mapping[str, Callable[..., Taken]] = {
    "saliency": _gradients("Saliency", abs=False),
    "input_x_gradient": _gradients("InputXGradient"),
    "integrated_gradients": _compared(
        "IntegratedGradients", lambda given: {"n_steps": given["steps"], "internal_batch_size": AT_ONCE}
    ),
    "deep_lift": _compared("DeepLift", lambda _: {}),
    "gradient_shap": _compared("GradientShap", lambda given: {"n_samples": given["steps"], "stdevs": 0.0}),
    "guided_backprop": _rectified("GuidedBackprop"),
    "deconvolution": _rectified("Deconvolution"),
    "layer_gradient_x_activation": _layer,
    "occlusion": _occlusion,
    "feature_ablation": _ablation,
}


def _captum(part: str = "captum.attr") -> Any:
    try:
        return importlib.import_module(part)
    except ImportError:
        raise Unusable(
            "The saliency view needs captum; install it with `pip install 'mkdocs-attnviz[explain]'`."
        ) from None


def _check_reuse(function: Explained, loaded: Loaded, embeddings: Embeddings) -> None:
    """DeepLIFT keeps what went into each non-linear module: one that runs twice in a pass would be taken for another.

    Raises:
        Unusable: the model has one.
    """
    kinds = tuple(_captum("captum.attr._core.deep_lift").SUPPORTED_NON_LINEAR)
    modules = [module for module in loaded.model.modules() if isinstance(module, kinds)]
    with torch.no_grad(), _counting(modules) as calls:
        function(*embeddings)
    if any(count > 1 for count in calls.values()):
        raise Unusable(
            f"`method` is deep_lift, which needs a module of its own for each non-linear step, and model "
            f"{loaded.ref.name!r} runs one several times.",
            "method",
        )


@contextmanager
def _counting(modules: Sequence[torch.nn.Module]) -> Iterator[dict[int, int]]:
    """How often each runs."""
    calls = {id(module): 0 for module in modules}

    def count(module: torch.nn.Module, *_: Any) -> None:
        calls[id(module)] += 1

    hooks = [module.register_forward_hook(count) for module in modules]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Captum draws by NumPy's and torch's own states, which are left as they were."""
    state = np.random.get_state()
    try:
        with torch.random.fork_rng():
            if seed is not None:
                np.random.seed(seed)
                torch.manual_seed(seed)
            yield
    finally:
        np.random.set_state(state)
