"""The rooms for models. They alone import torch or transformers, and they do so only in a worker process.

`identity` and `engine/client` run in the build's own process and import neither.
"""
