"""What a worker process gets to know of the build's environment: what running a model takes, and no secrets.

A build has credentials for publishing, for the shared cache, for its hub. A model's own code, a template, or a link to
`/proc/self/environ` could put into a figure whatever the worker has. So its variables are an allow-list. Of the hub's
tokens a worker learns with the very job that needs them, by the pipe, and forgets them after it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping

NAMES = (
    "PATH HOME USER LOGNAME SHELL PWD TMPDIR TEMP TMP TZ LANG LANGUAGE TERM COLUMNS "
    "VIRTUAL_ENV CONDA_PREFIX CONDA_DEFAULT_ENV LD_LIBRARY_PATH LD_PRELOAD LIBRARY_PATH "
    "SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE "
    "HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY "
    "SYSTEMROOT SYSTEMDRIVE WINDIR COMSPEC PATHEXT OS APPDATA LOCALAPPDATA PROGRAMDATA ALLUSERSPROFILE PUBLIC "
    "PROGRAMFILES PROGRAMFILES(X86) PROGRAMW6432 COMMONPROGRAMFILES COMMONPROGRAMFILES(X86) COMMONPROGRAMW6432 "
    "USERNAME USERPROFILE USERDOMAIN COMPUTERNAME HOMEDRIVE HOMEPATH NUMBER_OF_PROCESSORS "
)
"""Variables of systems, in capitals; their case does not matter."""
BEGINNINGS = (
    *("LC_", "XDG_", "DYLD_", "NIX_", "PYTHON", "COVERAGE_", "COV_CORE_", "MALLOC_", "PROCESSOR_", "__CF_"),
    *("HF_", "HUGGINGFACE_", "TRANSFORMERS_", "TOKENIZERS_", "SAFETENSORS_", "ACCELERATE_", "BITSANDBYTES_", "BNB_"),
    *("TORCH", "PYTORCH_", "TRITON_", "CUDA", "CUDNN_", "CUBLAS", "NVIDIA_", "NCCL_", "HIP_", "ROCR_", "ROCM_"),
    *("HSA_", "MIOPEN_", "ONEAPI_", "SYCL_", "ZE_", "OMP_", "GOMP_", "KMP_", "MKL_", "DNNL_", "ONEDNN_"),
    *("OPENBLAS_", "BLIS_", "VECLIB_", "NUMEXPR_", "RAYON_", "ATEN_"),
)
"""Variables of what runs models, and of the system."""
SECRET = re.compile(
    r"(?i)(_|^)(TOKEN|SECRET|PASSWORD|PASSWD|PASS|CREDENTIALS?|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|AUTH)$"
)
HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
MORE = "ATTNVIZ_WORKER_ENV"
"""The variable with further names, with commas between, for what needs them."""


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a worker process starts with."""
    more = {name.strip().upper() for name in environment.get(MORE, "").split(",")} - {""}
    return {name: value for name, value in environment.items() if name.upper() in more or _needed(name.upper())}


def _needed(name: str) -> bool:
    return name in NAMES.split() or (name.startswith(BEGINNINGS) and not SECRET.search(name))


def hub_tokens(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the tokens that a job with a model of the hub needs."""
    return {name: environment[name] for name in HUB_TOKENS if environment.get(name)}


@contextlib.contextmanager
def knowing(secrets: Mapping[str, str]) -> Iterator[None]:
    """Let this process know `secrets` for a while."""
    before = {name: os.environ.get(name) for name in secrets}
    os.environ.update(secrets)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
