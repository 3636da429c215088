"""A tiny random model of every text model type of transformers, built from its configuration class alone."""

from __future__ import annotations

import contextlib
import io
from types import SimpleNamespace

import torch
import transformers
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from mkdocs_attnviz.models.inputs.tokens import Example, Tokens
from mkdocs_attnviz.models.loading.loaded import Loaded
from mkdocs_attnviz.models.loading.model_class import classes_without_head

VOCABULARY = 99
SHRUNK = {
    2: "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers num_encoder_layers "
    "num_decoder_layers num_key_value_heads num_kv_heads num_experts_per_tok num_experts_per_token num_local_experts "
    "num_experts "
    "n_routed_experts moe_num_experts num_shared_experts",
    4: "sliding_window num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads "
    "num_encoder_attention_heads num_decoder_attention_heads linear_num_key_heads linear_num_value_heads",
    8: "head_dim d_kv qk_nope_head_dim qk_rope_head_dim v_head_dim global_head_dim attention_head_dim kv_channels "
    "linear_key_head_dim linear_value_head_dim hidden_size_per_layer_input",
    16: "q_lora_rank kv_lora_rank embedding_size",
    32: "hidden_size d_model n_embd dim emb_dim n_embed d_embed word_embed_proj_dim width hidden_dim_size "
    "base_channels nemo_conv_channels downsample_hidden_size projector_input_dim projector_output_dim "
    "vision_output_dim entity_emb_size",
    48: "intermediate_size d_ff ffn_dim encoder_ffn_dim decoder_ffn_dim n_inner ffn_hidden_size hidden_dim "
    "moe_intermediate_size shared_expert_intermediate_size expert_ffn_hidden_size mlp_hidden_size",
    VOCABULARY: "vocab_size n_vocab vocab_size_per_layer_input entity_vocab_size shape_vocab_size "
    "pronunciation_vocab_size encoder_hash_byte_group_vocab src_vocab_size tgt_vocab_size",
    512: "max_position_embeddings n_positions n_ctx max_seq_len",
}
SIZES = {name: size for size, names in SHRUNK.items() for name in names.split()}

FOUR = {"num_hidden_layers": 4}
"""Hybrids: every fourth layer is attention."""
MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_chunk_size": 16}
SOUND_ENCODER = {"num_filters": 2, "depths": [1] * 7}
QWEN4 = {
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": 64,
    "indexer_compress_ratio": 4,
    "hc_lowrank": 8,
}
OVERRIDES: dict[str, dict] = {
    "axk1": {"v_head_dim": 8, "qk_nope_head_dim": 8, "n_group": 1, "topk_group": 1, "n_routed_experts": 4},
    "bailing_hybrid": FOUR
    | {
        "layer_group_size": 2,
        "n_group": 1,
        "topk_group": 1,
        "num_experts": 4,
        "n_routed_experts": 4,
        "num_local_experts": 4,
    },
    "bamba": MAMBA | {"attn_layer_indices": [1]},
    "codegen": {"rotary_dim": 4},
    "cohere_compass_text": FOUR
    | {
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 10000.0} for kind in ("full_attention", "sliding_attention")
        }
    },
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8}},
    "deberta": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 2, "num_experts_per_tok": 1, "n_shared_experts": 1},
    "dots3_note_text": {"num_key_value_heads": 4},
    "emu3": {"vocabulary_map": {"<image>": 4}},
    "encoder-decoder": {"decoder": {"is_decoder": True, "add_cross_attention": True}},
    "ernie4_5_moe": {"moe_k": 2},
    "esm": {"vocab_size": 99, "pad_token_id": 0, "mask_token_id": 4},
    "esmc": {"num_key_value_heads": 4},
    "funnel": {"architectures": ["FunnelModel"], "block_sizes": [1, 1], "d_head": 8, "d_inner": 48},
    "gemma2": {"attn_logit_softcapping": 1.0},
    "falcon_h1": MAMBA | {"mamba_d_ssm": 64},
    "gemma3n_text": {
        "num_hidden_layers": 4,
        "intermediate_size": [48] * 4,
        "num_kv_shared_layers": 0,
        "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
    },
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 4},
    "granitemoehybrid": MAMBA | {"layer_types": ["mamba", "attention"]},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": FOUR
    | {
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "num_experts": 4,
        "n_routed_experts": 4,
        "linear_num_heads": 4,
        "linear_head_dim": 8,
    },
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "lfm3": FOUR,
    "minimax": FOUR,
    "ministral": {"head_dim": 8},
    "nemotron": {"num_key_value_heads": 2, "head_dim": 8},
    "neomme": {"head_dim": 16},
    "qwen3_5": {"text_config": FOUR},
    "qwen3_5_moe": {"text_config": FOUR},
    "qwen3_5_moe_text": FOUR,
    "qwen3_5_text": FOUR,
    "qwen3_next": FOUR,
    "qwen4_exp": {"text_config": FOUR | QWEN4},
    "qwen4_exp_text": FOUR | QWEN4,
    "recurrent_gemma": FOUR,
    "squeezebert": {"embedding_size": 32},
    "perceiver": {"d_latents": 32, "num_self_attends_per_block": 1},
    "vibevoice_asr": {
        "acoustic_tokenizer_encoder_config": SOUND_ENCODER,
        "semantic_tokenizer_encoder_config": SOUND_ENCODER,
    },
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"]},
    "zamba2": {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"], "mamba_ngroups": 1},
}


SPARSE = {"index_topk": 4}
MIXED = {"layer_types": ["full_attention", "sliding_attention"]}
ROPE = {"rope_theta": 10000.0, "factor": 4.0, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
NARROW: dict[str, dict] = {
    "axk2": SPARSE,
    "big_bird": {"block_size": 4, "num_random_blocks": 1},
    "bigbird_pegasus": {"block_size": 4, "num_random_blocks": 1},
    "cohere_compass_text": {"layer_types": MIXED["layer_types"] * 2},
    "deepseek_v32": SPARSE,
    "deepseek_v4": {"compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 20}},
    "doge": {"keep_window_size": 4},
    "dots3_note_text": SPARSE,
    "glm_moe_dsa": SPARSE,
    "gpt_neo": {"window_size": 4},
    "hy_v4": SPARSE,
    "inkling2_text": {"sliding_window_size": 4},
    "inkling_text": {"sliding_window_size": 4},
    "laguna": MIXED,
    "led": {"attention_window": 12},
    "llama": {"max_position_embeddings": 16, "rope_parameters": ROPE | {"rope_type": "dynamic"}},
    "llama4_text": {"attention_chunk_size": 4},
    "longt5": {"local_radius": 3, "global_block_size": 4},
    "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 2},
    "mellum": MIXED,
    "minimax_m3_vl_text": {
        "index_block_size": 4,
        "index_topk_blocks": 2,
        "layer_types": ["full_attention", "minimax_m3_sparse"],
    },
    "modernbert": {"local_attention": 4},
    "modernbert-decoder": {"local_attention": 4},
    "nllb-moe": {"expert_capacity": 4, "second_expert_policy": "random"},
    "pegasus_x": {"block_size": 4},
    "phi3": {"rope_parameters": ROPE | {"rope_type": "longrope", "original_max_position_embeddings": 16}},
    "qwen2": {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1},
    "qwen4_exp_text": {"indexer_budget": 8},
    "recurrent_gemma": {"attention_window_size": 4},
    "reformer": {
        "axial_pos_embds": False,
        "attn_layers": ["local", "lsh"],
        "local_attn_chunk_length": 4,
        "lsh_attn_chunk_length": 4,
        "num_buckets": None,
        "attention_head_size": 8,
        "feed_forward_size": 48,
    },
    "switch_transformers": {"expert_capacity": 4},
    "zaya": {"layer_types": ["hybrid", "hybrid_sliding"], "sliding_window": 4},
}
"""Settings with which a text of some 40 tokens is a long one: windows, blocks and budgets of real models are in
hundreds.
"""


SOUND = "It reads sound, not text."
PICTURES = "It reads pictures, not text."
NOT_BUILT = {
    "dots3_note": "Only its language model, `dots3_note_text`, was tried.",
    "gemma3n": "Only its language model, `gemma3n_text`, was tried.",
    "gemma4_assistant": "It runs only beside the model that it drafts for.",
    "gemma4_unified_assistant": "It runs only beside the model that it drafts for.",
    "musicflamingo": SOUND,
    "nemo_speechlm": SOUND,
    "trocr": PICTURES,
    "voxtral_realtime": SOUND,
}
"""Types that transformers lists among its language models and that are none, or cannot be built small."""


def text_model_types() -> list[str]:
    """Return all types that transformers can load to write, to fill in masks, or to turn text into text."""
    mappings = (
        modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    )
    return sorted({name for mapping in mappings for name in mapping})


def config(model_type, narrow=False):
    kind = CONFIG_MAPPING[model_type]
    more = NARROW.get(model_type, {}) if narrow else {}
    return kind(**settings(kind, OVERRIDES.get(model_type, {}) | more))


def settings(kind, overrides):
    """Return what makes a configuration of this class small, its parts included."""
    try:
        default = kind()
    except Exception:
        return overrides
    found = {}
    names = {kind.attribute_map.get(name, name) for name in [*vars(default), *kind.attribute_map]}
    for name in names:
        value = vars(default).get(name)
        if name in SIZES and isinstance(value, int):
            found[name] = min(SIZES[name], value) if "experts" in name or "kv_heads" in name else SIZES[name]
        elif name.endswith("_token_id") and isinstance(value, int) and value >= VOCABULARY:
            found[name] = VOCABULARY - 1
        elif isinstance(value, transformers.PretrainedConfig):
            found[name] = settings(type(value), overrides.get(name, {}))
    if "kv_lora_rank" in names and "num_key_value_heads" in names:  # latent attention: keys for each head
        found["num_key_value_heads"] = SIZES["num_attention_heads"]
    found |= {name: value for name, value in overrides.items() if name not in kind.sub_configs}
    return found


def tiny(model_type, narrow=False) -> Loaded:
    torch.manual_seed(0)
    made = config(model_type, narrow)
    made._attn_implementation = "eager"
    with contextlib.redirect_stderr(io.StringIO()):
        model = classes_without_head(made)[0].loader.from_config(made, attn_implementation="eager").eval()
    with torch.no_grad():  # small random weights give uniform attention, which would hide mistakes
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
                if not parameter.any():  # made to be learnt; as it is, what comes before it would be without effect
                    parameter.normal_(std=0.1)
    ref = SimpleNamespace(name=model_type)
    return Loaded(ref, model, SimpleNamespace(pad_token_id=0, model_max_length=10**30), torch.device("cpu"))


def tokens(length, first=5):
    ids = [first + (7 * n) % 60 for n in range(length)]
    return Tokens(ids, None, [str(n) for n in ids], [str(n) for n in ids], [], None, [None] * length)


def example(loaded, text=11, target=6) -> Example:
    return Example(tokens(text), tokens(target, 9) if loaded.encoder_decoder else None)
