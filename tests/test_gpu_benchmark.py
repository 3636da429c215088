"""The benchmark for a GPU: that it runs here, on a processor with a tiny model, so that it runs where a GPU is lent."""

import json
import sys

from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import gpu


def test_a_tiny_model_on_the_processor(tmp_path, capsys):
    written = tmp_path / "gpu.json"
    arguments = ["--device", "cpu", "--shapes", "tiny", "--tokens", "16", "32", "--rounds", "1"]
    assert gpu.main([*arguments, "--json", str(written)]) == 0
    told = json.loads(written.read_text())
    assert told["device"].endswith("processor")
    assert [(row["layers"], row["heads"], row["tokens"], row["weights"]) for row in told["rows"]] == [
        (2, 4, 16, 2 * 4 * 16**2),
        (2, 4, 32, 2 * 4 * 32**2),
    ]
    for row in told["rows"]:
        assert all(
            row[kind] > 0 for kind in ("sdpa", "eager", "output_attentions", "taken", "captured", "first_figure")
        )
        assert row["size"] > row["weights"] / 4
    printed = capsys.readouterr().out.splitlines()
    header, _, first, second = printed[-4:]
    assert {line.count("|") for line in (header, first, second)} == {14}
    row = told["rows"][0]
    assert f"| tiny (2 × 4) | 16 | {1000 * row['sdpa']:.1f} | {row['eager'] / row['sdpa']:.2f} |" in first


def test_a_case_for_which_no_time_is_left_is_named(capsys):
    assert gpu.main(["--device", "cpu", "--shapes", "tiny", "--minutes", "0"]) == 0
    assert "tiny at 16 tokens: no time was left." in capsys.readouterr().err


def test_shapes_have_the_sizes_of_their_models():
    heads = {
        name: (shape.config().num_hidden_layers, shape.config().num_attention_heads)
        for name, shape in gpu.SHAPES.items()
    }
    assert heads == {
        "gpt2": (12, 12),
        "bert-base": (12, 12),
        "llama-1b": (16, 32),
        "llama-7b": (32, 32),
        "tiny": (2, 4),
    }
    assert all(max(shape.tokens) <= shape.config().max_position_embeddings for shape in gpu.SHAPES.values())
