"""The data of a figure, as its page holds it in `data-figure`: what all views have, and what several share.

Each view declares its own part beside its `draw`. `python tests/figure_types.py` writes the same declarations for
TypeScript, `frontend/src/element/figure-data.ts`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from typing_extensions import NotRequired, TypedDict

UNSHIPPED = "a key that Python alone knows; `figure.py` puts bytes or their file in its place"

Theme = Literal["auto", "light", "dark"]


class Blob(TypedDict, total=False):
    """Deflated bytes: as base64, or as the file that holds them."""

    data: str
    file: str
    part: int
    """The index among the parts of the file; 0 if absent."""
    blob: Annotated[str, UNSHIPPED]
    """The name of the bytes in the entry."""
    content: Annotated[bytes, UNSHIPPED]
    """The bytes themselves."""
    ahead: Annotated[bool, UNSHIPPED]
    """True if the bytes go into the page, to be drawn before the data in files."""


class Drawn(TypedDict):
    """The data that a view writes for its script; each view adds its own part."""

    view: str
    theme: Theme
    shipped: NotRequired[str]
    """The part of the figure's data that the page has, and how to get more; absent if it has all."""


class ModelProvenance(TypedDict):
    """A model that a figure is drawn from."""

    name: str
    """The name that the author gives it."""
    architecture: NotRequired[str]
    """The class of transformers that ran it, which names the task head: `BertForMaskedLM`."""
    dtype: NotRequired[str]
    device: NotRequired[str]
    """The kind of device: `cpu`, `cuda`."""
    identity: NotRequired[str]
    """The weights: `commit:MODEL@COMMIT` of a hub, or `sha256:DIGEST` of a directory or file."""


class Provenance(TypedDict):
    """The origin of a figure, as far as its entry records it."""

    models: list[ModelProvenance]
    cite: list[str]
    """Citations of this package and, where their files have one, of the models."""
    versions: NotRequired[list[dict[str, str]]]
    """The versions of packages; two if the compared models were run by different ones."""
    corpus: NotRequired[str]
    """The file of many texts that the figure is drawn from, and the digest of what was read of it."""
    stored: NotRequired[str]
    """The precision of the stored numbers."""


class ClaimData(TypedDict):
    """A claim of the author's about the figure, tested when the page was built."""

    text: str
    """The claim in words: "In head 8 of layer 2, the weight from “the” to “cat” is at least 0.5"."""
    holds: bool
    value: str
    """The true value: "0.75"."""


class Figure(Drawn):
    """The data that every figure has in its page; each view declares what it adds."""

    label: str
    """One sentence that says what is to be seen: the figure's accessible name."""
    source: NotRequired[str]
    """Model and text, shortened: "minilm: The cat sat on the mat"."""
    state: NotRequired[str]
    """The state that the author chose to begin with, in the form of a link."""
    provenance: NotRequired[Provenance]
    """The origin of the figure; the two figures within a compared one have none of their own."""
    claims: NotRequired[list[ClaimData]]
    """The claims of the block key `expect`, in the block's order; absent if it has none."""


class TokenSequence(TypedDict):
    """The tokens of a text that a model reads or writes."""

    tokens: list[str]
    special: list[int]
    sentence_b_start: int | None
    words: NotRequired[list[int | None]]
    """The number of the word that each token is a piece of; null for special tokens and where it is unknown."""
    joined: NotRequired[dict[int, str]]
    """The text of a word by its first token, where it is not that of its tokens one after another."""
    next: NotRequired[list[str]]
    """The token that a decoder is to produce at each of its tokens."""


class TextFigure(Drawn):
    """A figure that shows tokens."""

    sequences: dict[str, TokenSequence]


class Stretch(TypedDict):
    """A stretch of a sequence, as it is read."""

    name: str
    heading: str
    start: int
    end: int
    offset: NotRequired[int]
    """The position in the model of the first token, where the figure counts its own."""


class ComparedFigure(Figure):
    """A figure of a changed model, and of the model as it is."""

    interventions: str
    """The change of the model, as it follows "the model": "without head 1 of layer 0"."""
    of: Figure
    before: Figure
