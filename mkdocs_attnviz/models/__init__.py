"""The only rooms that import torch or transformers, and those do so in a worker process alone.

`reference` and `client` run in the build's own process and import neither.
"""
