"""The block keys of the saliency view."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from mkdocs_attnviz.block.fields import Options as BlockOptions
from mkdocs_attnviz.block.problem import WrongValue
from mkdocs_attnviz.block.values import Flag, Index, Texts, key

COMPARED = ("integrated_gradients", "deep_lift", "gradient_shap", "occlusion", "feature_ablation")
"""The methods that compare with a baseline."""
GRADIENTS = ("saliency", "guided_backprop", "deconvolution")
"""The methods that give plain gradients. Their sum is meaningless: if a layer norm follows the embedding, it is 0."""
BELONGS = {
    "steps": ("integrated_gradients", "gradient_shap"),
    "seed": ("gradient_shap",),
    "baseline": COMPARED,
    "layer": ("layer_gradient_x_activation",),
    "window": ("occlusion",),
}
"""The methods that use each of these keys."""
DEFAULTS: dict[str, Any] = {"steps": 50, "seed": 0, "baseline": "zero", "layer": 0, "window": 1}
"""The default value of each key that only some methods use."""
OF_SEVERAL = ("by", "spans", "compare", "top_k", "replacement")
"""The keys of blocks that compare several methods."""

Single = Literal[
    "saliency",
    "input_x_gradient",
    "integrated_gradients",
    "deep_lift",
    "gradient_shap",
    "guided_backprop",
    "deconvolution",
    "layer_gradient_x_activation",
    "occlusion",
    "feature_ablation",
]
"""Methods that may stand alone."""
Name = Literal["attention", "rollout", "value_weighted", "gradient_norm", Single]
"""Methods that may stand in a list."""
ATTENTION = ("attention", "rollout", "value_weighted")
"""The ways to make one number for each token of attention. They do not know which output is asked about."""
By = Literal["token", "word", "sentence", "span"]
Compare = Literal["agreement", "top_k", "deletion", "insertion", "nothing"]
NAMES = ", ".join(get_args(Name)[:-1]) + f" or {get_args(Name)[-1]}"
TOP_K = 3


class Options(BlockOptions):
    """The block keys of the saliency view."""

    method: Name | Annotated[tuple[Name, ...], Field(min_length=1, max_length=10)] = key(
        f"{NAMES}, or a list of these",
        "The method, by its name in Captum. A list of methods, or one of attention, rollout, value_weighted and "
        "gradient_norm, gives strips over the same tokens, and a comparison of them.",
        default="input_x_gradient",
    )
    norm: Literal["sum", "l2"] | None = key(
        "sum or l2",
        "How a token's embedding becomes one number: the signed sum over its dimensions, or its length. Default: l2 "
        "for saliency, guided_backprop and deconvolution, sum for the others.",
        default=None,
    )
    explain: Literal["logit", "log_probability", "probability"] = key(
        "logit, log_probability or probability", "The number of an output that is explained.", default="logit"
    )
    token: str | None = key(
        "a token",
        "Explain this token's score, in place of the one that the model has produced or holds likeliest.",
        default=None,
        min_length=1,
    )
    contrast: str | None = key(
        "a token or a class",
        "Explain why the model produced its output rather than this one: the difference of the two.",
        default=None,
        min_length=1,
    )
    target: Texts | None = key(
        "all, or a list of positions or classes",
        "Which outputs are explained. Default: all that a model has produced; the next token after a text; the first "
        "masked one; the likeliest class; the first token with a label; start and end of an answer. Several methods "
        "are compared on the first of them.",
        default=None,
    )
    steps: int | None = key(
        "a number from 1 to 1000",
        "Points on the path of integrated gradients, samples of gradient_shap. Default: 50.",
        default=None,
        ge=1,
        le=1000,
    )
    seed: int | None = key(
        "a whole number",
        "For `gradient_shap`: the same seed draws the same samples. For a list of methods: and the same random orders.",
        default=None,
        ge=0,
        lt=2**32,
    )
    baseline: Literal["zero", "pad"] | None = key(
        "zero or pad",
        "What an embedding is compared with: zeros, or the padding token's. Default: zero.",
        default=None,
    )
    layer: Index | None = key(
        "a layer's number, counted from 0",
        "For `layer_gradient_x_activation`: the layer at whose output it is computed. Default: 0.",
        default=None,
    )
    window: int | None = key(
        "a number from 1 to 100",
        "For `occlusion`: how many tokens in a row are taken out together. Default: 1.",
        default=None,
        ge=1,
        le=100,
    )
    style: Literal["background", "bars"] = key(
        "background or bars", "How the attributions of one method are shown at first.", default="background"
    )
    by: By | None = key(
        "token, word, sentence or span",
        "For a list of methods: what the numbers are summed over at first. Default: token; span if there are `spans`.",
        default=None,
    )
    spans: Texts | None = key(
        "a list of passages of the text",
        "For a list of methods: passages whose numbers can be summed, as they stand in the text.",
        default=None,
        max_length=100,
    )
    compare: Compare = key(
        "agreement, top_k, deletion, insertion or nothing",
        "For a list of methods: what is shown below the strips at first. Kendall's τ-b of each pair, the tokens that "
        "their first `top_k` have in common, or the output's probability as tokens are taken out or put back.",
        default="agreement",
    )
    top_k: int = key(
        "a number from 1 to 100",
        "For a list of methods: of how many tokens with the largest values the overlap is told.",
        default=TOP_K,
        ge=1,
        le=100,
    )
    replacement: Literal["mask", "pad", "unk", "remove"] | None = key(
        "mask, pad, unk or remove",
        "For a list of methods: the special token that stands in the place of one that is taken out, or whether the "
        "text becomes shorter. Default: the first of mask, pad and unk that the vocabulary has.",
        default=None,
    )
    ignore_tokens: Texts | None = key(
        "a list of tokens, or special",
        "Tokens that are left out of the colours' scale; `special` stands for all special tokens.",
        default=None,
    )
    prettify_tokens: Flag = key(
        "true or false",
        "Show a vocabulary's marks of word boundaries (`Ġ`, `▁`, `</w>`) as the spaces they stand for.",
        default=True,
    )

    @property
    def methods(self) -> tuple[str, ...] | None:
        """The methods that are compared, or None if the block has one method that stands alone."""
        if isinstance(self.method, tuple):
            return self.method
        return None if self.method in get_args(Single) else (self.method,)

    @model_validator(mode="after")
    def _check_method_keys(self) -> Options:
        methods = self.methods or (str(self.method),)
        for method in methods:
            if methods.count(method) > 1:
                raise WrongValue("method", f"`method` names {method} twice.")
        for name, users in BELONGS.items():
            used = (name == "seed" and self.methods) or any(method in users for method in methods)
            if getattr(self, name) is not None and not used:
                raise WrongValue(
                    name, f"`{name}` belongs to `method` {' and '.join(users)}, not to {' and '.join(methods)}."
                )
        return self

    @model_validator(mode="after")
    def _check_keys_of_several(self) -> Options:
        if self.methods is None:
            for name in OF_SEVERAL:
                if name in self.model_fields_set:
                    raise WrongValue(name, f"`{name}` belongs to a list of methods: write `method: [{self.method}]`.")
        elif "style" in self.model_fields_set:
            raise WrongValue("style", "`style` belongs to a single `method`, and the block has a list of methods.")
        if self.by == "span" and self.spans is None:
            raise WrongValue("by", "`by` is span, and the block has no `spans`.")
        return self

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the capture. A single method has the form that it
        always had, which keeps its keys."""
        shared: dict[str, Any] = {"explain": self.explain}
        for name in ("token", "contrast"):
            if (value := getattr(self, name)) is not None:
                shared[name] = value
        if self.target is not None:
            shared["target"] = list(self.target)
        if self.methods is None:
            return self.of_method(str(self.method)) | shared
        if self.replacement is not None:
            shared["replacement"] = self.replacement
        return shared | {"methods": [self.of_method(name) for name in self.methods], "seed": self.seed or 0}

    def of_method(self, method: str) -> dict[str, Any]:
        """Return the parameters of one method: its name, and the values of the keys that it uses."""
        if method in ATTENTION:
            return {"method": method}
        if method == "gradient_norm":
            return {"method": method, "norm": "l2"}
        values = {name: getattr(self, name) for name, methods in BELONGS.items() if method in methods}
        chosen = {name: DEFAULTS[name] if value is None else value for name, value in values.items()}
        return {"method": method, "norm": self.norm or ("l2" if method in GRADIENTS else "sum")} | chosen
