"""A model as a function of its input embeddings, and Captum's methods on it.

A hook on the embedding module replaces its output by other embeddings. This works for every architecture, including
those that scale their embeddings afterwards or take no `inputs_embeds`; positions are still counted from the ids.
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
from mkdocs_attnviz.models.inputs.examples import accepted_arguments, collate
from mkdocs_attnviz.models.inputs.tokens import Example
from mkdocs_attnviz.models.loading.load import Unusable
from mkdocs_attnviz.models.loading.loaded import Loaded

AT_ONCE = 16
"""The number of points on the path, or of perturbed texts, that go through a model together."""
PERTURBING = ("occlusion", "feature_ablation")
"""Methods that give one number per token, not one per dimension of its embedding."""

Embeddings = tuple[torch.Tensor, ...]
"""The embeddings, (B, T, E), of each sequence that a model reads: its text, and its decoder's input."""


@dataclass(frozen=True)
class Attribution:
    """The attributions of one output."""

    values: list[torch.Tensor]
    """The attributions of each sequence that the model reads, (T,)."""
    value: float
    """The score that is explained."""
    baseline: float | None
    """The score of the baseline, for methods that compare with one."""
    delta: float | None
    """The difference between the sum of the attributions and `value - baseline`, as Captum reports it."""


class Explained(torch.nn.Module):
    """A module from embeddings, (B, T, E) per sequence, to the explained score, (B, 1). `close` restores the model."""

    def __init__(self, loaded: Loaded, example: Example, score: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Hook the model. `score` takes logits as the model returns them."""
        super().__init__()
        self.model = loaded.model
        self.score = score
        self.name = loaded.ref.name
        self.logits_of = loaded.logits_of
        self.inputs = collate(loaded, [example])
        arguments = accepted_arguments(loaded.model)
        self.more: dict[str, Any] = {"use_cache": False} if "use_cache" in arguments else {}
        if loaded.task == "next" and "logits_to_keep" in arguments:
            self.more["logits_to_keep"] = 1
        self.lengths = [len(part.ids) for part in (example.text, example.target) if part is not None]
        self.twice = loaded.encoder_decoder and example.target is None
        """True if a decoder reads the text again, shifted by one token, as those of classifiers do."""
        start = getattr(loaded.model.config, "decoder_start_token_id", None)
        self.wraps = start is None or start != int(self.inputs["input_ids"][0, -1])
        """True if the decoder's first token may be the text's last (MBart) instead of one of its own."""
        self._given: list[torch.Tensor] = []
        self._seen: list[torch.Tensor] = []
        self._hooks = [module.register_forward_hook(self._embedding) for module in _embeddings(loaded)]

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def _embedding(self, _: Any, args: tuple[Any, ...], output: Any) -> Any:
        """Replace the output of an embedding module.

        I-BERT's module returns a tuple of embeddings and the scale of its numbers.
        """
        if isinstance(output, tuple):
            embeddings = self._in_place_of(args, output[0])
            return None if embeddings is None else (embeddings, *output[1:])
        return self._in_place_of(args, output)

    def _in_place_of(self, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor | None:
        """Return the embeddings that replace `output`, or None to keep it.

        Models may change them in place (CTRL scales them), so that copies are stored and returned.
        """
        at = len(self._seen)
        if self.twice and at == 1 and self._given and output.shape[1] == self.lengths[0]:
            replacement = self._given[0]
            if self.wraps and bool((args[0][:, 0] == self.inputs["input_ids"][:, -1]).all()):
                return replacement.roll(1, dims=1)
            return torch.cat([output[:, :1], replacement[:, :-1]], dim=1)
        if at == len(self.lengths) or output.dim() != 3 or output.shape[1] != self.lengths[at]:
            return None
        self._seen.append(output if self._given else output.detach().clone())
        return self._given[at].clone() if self._given else None

    def embeddings(self) -> Embeddings:
        """Return the embeddings of the tokens themselves, (1, T, E) each.

        Raises:
            Unusable: they cannot be read.
        """
        with torch.no_grad():
            self._run(1)
        return tuple(self._seen)

    def forward(self, *embeddings: torch.Tensor) -> torch.Tensor:
        """Return the scores. Beyond `AT_ONCE` inputs, activations are computed again for the gradients."""
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
    """Return the modules that turn ids into vectors; encoder and decoder often share one."""
    model = loaded.model
    parts = [model.get_encoder(), model.get_decoder()] if loaded.encoder_decoder else [model]
    modules = (_embedding_of(loaded, part) for part in parts)
    return list({id(module): module for module in modules}.values())


def _embedding_of(loaded: Loaded, part: torch.nn.Module) -> torch.nn.Module:
    """Return the module that embeds a part's input ids. FSMT's encoder and decoder have one, but no method that returns
    it.

    Raises:
        Unusable: there is no single such module.
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
    """Yield the function and the embeddings to explain it at. Only embeddings have gradients, weights do not."""
    trainable = [parameter for parameter in loaded.model.parameters() if parameter.requires_grad]
    function = Explained(loaded, example, score)
    try:
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield function, function.embeddings()
    finally:
        function.close()
        for parameter in trainable:
            parameter.requires_grad_(True)


def attribute(
    loaded: Loaded,
    example: Example,
    score: Callable[[torch.Tensor], torch.Tensor],
    parameters: Mapping[str, Any],
) -> Attribution:
    """Return what each token of the example adds to the score, by a method of Captum.

    Raises:
        Unusable: the method does not apply to this model.
        ValueError: a parameter does not fit it.
    """
    method, norm = parameters["method"], parameters["norm"]
    with explaining(loaded, example, score) as (function, embeddings), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Captum warns about its own hooks
        baselines = _baselines(loaded, embeddings, parameters.get("baseline"))
        with torch.no_grad():
            value = float(function(*embeddings))
            baseline = None if baselines is None else float(function(*baselines))
        attributions, delta = METHODS[method](function, loaded, embeddings, baselines, parameters)
    return Attribution(
        [loaded.checked_values(_per_token(part, method, norm)) for part in attributions], value, baseline, delta
    )


def _per_token(values: torch.Tensor, method: str, norm: str) -> torch.Tensor:
    """Reduce (1, T, E) to (T,)."""
    values = values[0].detach().float().cpu()
    if method in PERTURBING:  # all dimensions hold the same number
        return values[:, 0] if norm == "sum" else values[:, 0].abs()
    return values.sum(-1) if norm == "sum" else values.norm(dim=-1)


def _baselines(loaded: Loaded, embeddings: Embeddings, kind: str | None) -> Embeddings | None:
    """Return zeros or the padding token's embedding; None for methods that compare with nothing."""
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
        padding = [output[0] if isinstance(output, tuple) else output for output in (module(pad) for module in modules)]
    return tuple(
        padding[min(number, len(padding) - 1)].expand_as(part).clone() for number, part in enumerate(embeddings)
    )


Attributions = tuple[Sequence[torch.Tensor], float | None]


def _gradients(name: str, **fixed: Any) -> Callable[..., Attributions]:
    """Return a method that only needs gradients at the embeddings themselves."""

    def attribute(function: Explained, _: Loaded, embeddings: Embeddings, *__: Any) -> Attributions:
        return getattr(_captum(), name)(function).attribute(embeddings, target=0, **fixed), None

    return attribute


def _compared(name: str, options: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Callable[..., Attributions]:
    """Return a method that compares with a baseline and reports its convergence delta."""

    def attribute(
        function: Explained,
        loaded: Loaded,
        embeddings: Embeddings,
        baselines: Embeddings,
        parameters: Mapping[str, Any],
    ) -> Attributions:
        if name == "DeepLift":
            _check_reuse(function, loaded, embeddings)
        with _seeded(parameters.get("seed")):
            method = getattr(_captum(), name)(function)
            attributions, delta = method.attribute(
                embeddings, baselines=baselines, target=0, return_convergence_delta=True, **options(parameters)
            )
        return attributions, float(delta.mean())

    return attribute


def _rectified(name: str) -> Callable[..., Attributions]:
    """Return a method that changes how gradients pass rectifiers."""

    def attribute(function: Explained, loaded: Loaded, embeddings: Embeddings, *_: Any) -> Attributions:
        if not any(isinstance(module, torch.nn.ReLU) for module in loaded.model.modules()):
            method = {"GuidedBackprop": "guided_backprop", "Deconvolution": "deconvolution"}[name]
            used = getattr(loaded.model.config.get_text_config(), "hidden_act", None)
            raise Unusable(
                f"`method` is {method}, which changes how gradients pass ReLU modules, and model "
                f"{loaded.ref.name!r} has none{f' (it uses {used})' if isinstance(used, str) else ''}.",
                "method",
            )
        return getattr(_captum(), name)(function).attribute(embeddings, target=0), None

    return attribute


def _layer(
    function: Explained, loaded: Loaded, embeddings: Embeddings, _: Any, parameters: Mapping[str, Any]
) -> Attributions:
    """Return gradient × activation at the output of a layer, in encoder and decoder alike."""
    parts = [loaded.model.get_encoder(), loaded.model.get_decoder()] if loaded.encoder_decoder else [loaded.model]
    parts = parts[: len(embeddings)]  # a classifier's decoder reads the text again; only the encoder counts
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
        attributions = _captum().LayerGradientXActivation(function, layers).attribute(embeddings, target=0)
    except AssertionError:  # Captum raises it if a layer returns something that is no tensor
        raise Unusable(
            f"`method` is layer_gradient_x_activation, and the layers of model {loaded.ref.name!r} return more than "
            "vectors, which Captum does not take.",
            "method",
        ) from None
    return [part[0] if isinstance(part, (tuple, list)) else part for part in attributions], None


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
) -> Attributions:
    window = parameters["window"]
    shapes = tuple((min(window, part.shape[1]), part.shape[2]) for part in embeddings)
    attributions = (
        _captum()
        .Occlusion(function)
        .attribute(
            embeddings, sliding_window_shapes=shapes, baselines=baselines, target=0, perturbations_per_eval=AT_ONCE
        )
    )
    return attributions, None


def _ablation(function: Explained, _: Loaded, embeddings: Embeddings, baselines: Embeddings, __: Any) -> Attributions:
    """Return the change of the score without each token; a mask numbers the tokens of both sequences."""
    masks, start = [], 0
    for part in embeddings:
        numbers = torch.arange(start, start + part.shape[1], device=part.device)
        masks.append(numbers[None, :, None].expand_as(part))
        start += part.shape[1]
    attributions = (
        _captum()
        .FeatureAblation(function)
        .attribute(embeddings, baselines=baselines, target=0, feature_mask=tuple(masks), perturbations_per_eval=AT_ONCE)
    )
    return attributions, None


METHODS: Mapping[str, Callable[..., Attributions]] = {
    "saliency": _gradients("Saliency", abs=False),
    "input_x_gradient": _gradients("InputXGradient"),
    "integrated_gradients": _compared(
        "IntegratedGradients", lambda parameters: {"n_steps": parameters["steps"], "internal_batch_size": AT_ONCE}
    ),
    "deep_lift": _compared("DeepLift", lambda _: {}),
    "gradient_shap": _compared("GradientShap", lambda parameters: {"n_samples": parameters["steps"], "stdevs": 0.0}),
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
        raise Unusable("The saliency view needs captum; install it with `pip install 'attnviz[explain]'`.") from None


def _check_reuse(function: Explained, loaded: Loaded, embeddings: Embeddings) -> None:
    """Raise if a non-linear module runs twice in a forward pass: DeepLIFT would mix up the inputs of its two runs.

    Raises:
        Unusable: the model has such a module.
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
    """Count how often each module runs inside the `with` block; counts are by the module's id."""
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
    """Seed NumPy and torch, which Captum draws from, inside the `with` block, and restore their states afterwards."""
    state = np.random.get_state()
    try:
        with torch.random.fork_rng():
            if seed is not None:
                np.random.seed(seed)
                torch.manual_seed(seed)
            yield
    finally:
        np.random.set_state(state)
