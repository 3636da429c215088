"""Tiny random mixtures of experts: every model type of transformers that has routers and can be built."""

from __future__ import annotations

from unittest.mock import patch

import tiny_models
import torch
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

EXPERTS = dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"), 8)
SETTINGS = {
    "first_k_dense_replace": 1,
    "num_dense_layers": 1,
    "num_sparse_encoder_layers": 1,
    "num_sparse_decoder_layers": 1,
    "encoder_sparse_step": 1,
    "decoder_sparse_step": 1,
}
"""Settings that make at least one of two layers a mixture, in the configurations that have them."""
GROUPS = {"n_group": 4, "topk_group": 2}
"""Experts in groups of two, of which each token may use half."""
OWN: dict[str, dict] = {
    "beam": GROUPS | {"mlp_layer_types": ["dense", "sparse"]},
    "dbrx": {"ffn_config": {"moe_num_experts": 8, "moe_top_k": 2, "ffn_hidden_size": 48}},
    "deepseek_v3": GROUPS,
    "deepseek_v32": GROUPS,
    "deepseek_v4": {"mlp_layer_types": ["hash_moe", "moe"]},
    "dots1": {"n_routed_experts": 8, "num_experts_per_tok": 2},
    "flint": {"mlp_only_layers": [0]},
    "gemma4_text": {"enable_moe_block": True, "num_experts": 8, "top_k_experts": 2, "moe_intermediate_size": 48},
    "hunyuan_v1_moe": {"num_experts": 8, "moe_topk": 2},
    "glm4v_moe_text": {
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 0], "partial_rotary_factor": 0.5}
        | {"rope_theta": 1e4}
    },
    "longcat_flash": {"zero_expert_num": 4, "moe_topk": 4, "num_experts_per_tok": 4},
    "mistral4": {"head_dim": 16},
    "switch_transformers": {"expert_capacity": 4},
}

READ = [
    "afmoe",
    "aria",
    "aria_text",
    "axk1",
    "axk2",
    "bailing_hybrid",
    "beam",
    "cohere2_moe",
    "dbrx",
    "deepseek_v2",
    "deepseek_v3",
    "deepseek_v32",
    "deepseek_v4",
    "dots1",
    "dots3_note_text",
    "ernie4_5_moe",
    "exaone_moe",
    "flex_olmo",
    "flint",
    "gemma4_text",
    "glm4_moe",
    "glm4_moe_lite",
    "glm4v_moe_text",
    "glm_moe_dsa",
    "gpt_oss",
    "granitemoe",
    "granitemoe_swa",
    "granitemoehybrid",
    "granitemoeshared",
    "hunyuan_v1_moe",
    "hy_v3",
    "hy_v4",
    "inkling2_text",
    "inkling_mm_model",
    "inkling_text",
    "jamba",
    "jetmoe",
    "kimi_linear",
    "kolibri1",
    "laguna",
    "lfm2_moe",
    "llama4",
    "llama4_text",
    "longcat_flash",
    "mellum",
    "mimo_v2_flash",
    "minimax",
    "minimax_m2",
    "minimax_m3_vl",
    "minimax_m3_vl_text",
    "mistral4",
    "mistral_large4",
    "mistral_large4_text",
    "mixtral",
    "muse_spark_text",
    "nemotron_h",
    "olmoe",
    "openai_privacy_filter",
    "phimoe",
    "qwen2_moe",
    "qwen3_5_moe",
    "qwen3_5_moe_text",
    "qwen3_moe",
    "qwen3_next",
    "qwen3_vl_moe",
    "qwen3_vl_moe_text",
    "qwen4_exp",
    "qwen4_exp_text",
    "solar_open",
    "switch_transformers",
    "zaya",
]
"""Every type whose choices are read: the mixtures of transformers 5.23 that were built this small."""

NOT_READ = {
    "doge": "has no mixture of experts whose choices can be read",
    "nllb-moe": "does not compute a token with the experts that its router chose",
}
"""Mixtures that are refused, and a part of the sentence that says why.

NLLB-MoE of transformers 5.23 takes its mask of choices for numbers of experts, so that experts 0 and 1 get all tokens.
Doge looks its 16,384 experts up as rows of a table.
"""


def mixture(model_type):
    """Return a tiny model of a type, with eight experts or so in its mixtures."""
    kind = CONFIG_MAPPING[model_type]
    default = kind()
    own = {name: value for name, value in SETTINGS.items() if hasattr(default, name)}
    own |= tiny_models.OVERRIDES.get(model_type, {}) | OWN.get(model_type, {})
    with patch.dict(tiny_models.SIZES, EXPERTS), patch.dict(tiny_models.OVERRIDES, {model_type: own}):
        loaded = tiny_models.tiny(model_type)
    generator = torch.Generator().manual_seed(0)
    for name, buffer in loaded.model.named_buffers():
        if "bias" in name and buffer.is_floating_point():  # what evens the load out is learnt; it is zero at first
            buffer.copy_(torch.rand(buffer.shape, generator=generator) * 0.2)
        elif name.endswith("tid2eid"):  # which experts each token of the vocabulary goes to
            buffer.copy_(torch.rand(buffer.shape[0], 8, generator=generator).argsort(-1)[:, : buffer.shape[1]])
    return loaded
