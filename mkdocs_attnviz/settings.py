"""The settings of a site, each declared once. Each host loops over `Settings.model_fields`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mkdocs_attnviz.block.defaults import ENTRY_SIZE, FIGURE_SIZE
from mkdocs_attnviz.block.values import Size

Dtype = Literal["auto", "float32", "float16", "bfloat16"]


class SettingsError(Exception):
    """An error in the site's settings, described in one sentence."""


class ModelSettings(BaseModel):
    """The long form of a model under `models`."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str = Field(description="A directory, a Hugging Face model id or `package:NAME/dir`.")
    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")
    dtype: Dtype | None = Field(None, description="Overrides the site's `dtype`.")
    device_map: Literal["auto", "balanced", "balanced_low_0", "sequential"] | None = Field(
        None,
        description="Spread a large model over several GPUs, memory and disk, as accelerate does it (`auto`).",
    )
    trust_remote_code: bool | None = Field(None, description="Overrides the site's `trust_remote_code`.")
    use_safetensors: bool | None = Field(None, description="Overrides the site's `use_safetensors`.")


class Settings(BaseModel):
    """The settings of one site."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: dict[str, str | ModelSettings] = Field(
        default_factory=dict,
        description="Aliases: a short name for a model, as a text or as a mapping with `model`, `revision`, `dtype`, "
        "`device_map`, `trust_remote_code`, `use_safetensors`.",
    )
    only_listed_models: bool = Field(
        False,
        description="Refuse every model that is not an alias under `models`. "
        "For sites that build strangers' pull requests.",
    )
    cache_dir: str = Field(
        ".attnviz", min_length=1, description="Folder of the cache, relative to the site's configuration file."
    )
    cache_url: str | None = Field(
        None,
        min_length=1,
        description="A cache that machines share, as a URL that fsspec reads (`s3://bucket/docs`, `gs://`, `hf://`, "
        "`file://`): what the folder lacks is fetched from there. Needs the extra `share`.",
    )
    cache_push: bool = Field(False, description="What is computed here goes to `cache_url`, too.")
    lock_file: str = Field(
        "attnviz.lock",
        min_length=1,
        description="File that records which weights the figures are drawn from, relative to the site's configuration "
        "file; commit it.",
    )
    on_missing: Literal["run", "warn", "error"] = Field(
        "run",
        description="What to do about a block that the cache does not hold: `run` its model; `warn` and leave an "
        "alert in its place; or end the build with an `error` that names all of them.",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        description="`auto` takes cuda, else mps, else cpu; or name one (`cuda:1`).",
    )
    dtype: Dtype = Field("auto", description="Precision the weights are run in; `auto` is the checkpoint's own.")
    max_tokens: int = Field(1024, gt=0, description="A longer text is an error.")
    max_figure_size: Size = Field(
        FIGURE_SIZE,
        description="How much a figure may add to the site, like `10 MB`; `unlimited` ships everything. Beyond it, a "
        "figure of attention is reduced, and says so.",
    )
    max_entry_size: Size = Field(
        ENTRY_SIZE,
        description="How large a cache entry may be, like `50 MB`. A larger one is stored with reduced weights, and "
        "its figures say so.",
    )
    batch_size: int = Field(8, gt=0, le=256, description="How many texts go through the model at once, at most.")
    timeout: int = Field(
        900,
        ge=0,
        le=10**6,
        description="Seconds that loading a model, or one text, may take before it is given up; `0` is without limit. "
        "A download counts as long as it goes on.",
    )
    trust_remote_code: bool = Field(False, description="Run Python code that comes with a model.")
    use_safetensors: bool = Field(
        True,
        description="Load weights from safetensors files alone; pickled weights can run code when they are loaded.",
    )

    @classmethod
    def read(cls, values: dict[str, Any]) -> Settings:
        """Return the settings in a host's configuration.

        Raises:
            SettingsError: if a value is not allowed. It names the setting, its value and what is allowed.
        """
        try:
            return cls(**{name: value for name, value in values.items() if value is not None})
        except ValidationError as error:
            detail = max(
                error.errors(), key=lambda each: len(each["loc"])
            )  # in a union, the branch that matched furthest
            name = ".".join(str(part) for part in detail["loc"] if part not in ("str", "ModelSettings"))
            raise SettingsError(f"Setting `{name}` is {detail['input']!r}: {detail['msg']}.") from None
