"""The settings that apply if a block does not name them. A worker reads the same ones, so nothing is imported here."""

TODAY = "2024-07-26"
"""The day that chat templates are given where a block has no `chat_date`; Llama 3's template falls back to the same."""
FIGURE_SIZE = 10_000_000
"""The number of bytes that a figure may add to a site."""
ENTRY_SIZE = 50_000_000
"""The number of bytes that a cache entry may have: a git host warns of files that are larger."""
IMPLIED = {"temperature": 1.0, "top_k": 50, "top_p": 1.0, "num_beams": 1, "repetition_penalty": 1.0, "seed": 0}
"""The settings of generation that apply if `generate` does not name them. A block that names them asks for the same."""
