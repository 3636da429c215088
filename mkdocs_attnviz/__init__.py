"""Interactive views of a transformer's attention in written documentation."""

__version__ = "0.1.0"
