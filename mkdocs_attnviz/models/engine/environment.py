"""The environment variables of a worker process: those that running a model needs, without secrets.

A build has credentials for publishing, for the shared cache and for its hub. A model's own code, a template, or a link
to `/proc/self/environ` could put everything that the worker has into a figure. So its variables are an allow-list. A
worker gets the hub's tokens through the pipe with the job that needs them, and forgets them after it.
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
"""Variables of operating systems, in capitals; their case does not matter."""
BEGINNINGS = (
    *("LC_", "XDG_", "DYLD_", "NIX_", "PYTHON", "COVERAGE_", "COV_CORE_", "MALLOC_", "PROCESSOR_", "__CF_"),
    *("HF_", "HUGGINGFACE_", "TRANSFORMERS_", "TOKENIZERS_", "SAFETENSORS_", "ACCELERATE_", "BITSANDBYTES_", "BNB_"),
    *("TORCH", "PYTORCH_", "TRITON_", "CUDA", "CUDNN_", "CUBLAS", "NVIDIA_", "NCCL_", "HIP_", "ROCR_", "ROCM_"),
    *("HSA_", "MIOPEN_", "ONEAPI_", "SYCL_", "ZE_", "OMP_", "GOMP_", "KMP_", "MKL_", "DNNL_", "ONEDNN_"),
    *("OPENBLAS_", "BLIS_", "VECLIB_", "NUMEXPR_", "RAYON_", "ATEN_"),
)
"""Beginnings of the names of variables for the libraries that run models, and for the system."""
SECRET = re.compile(
    r"(?i)(_|^)(TOKEN|SECRET|PASSWORD|PASSWD|PASS|CREDENTIALS?|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|AUTH)$"
)
HUB_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
MORE = "ATTNVIZ_WORKER_ENV"
"""The variable with names of further variables to pass on, separated by commas."""


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
def temporary_variables(secrets: Mapping[str, str]) -> Iterator[None]:
    """Set the variables `secrets` inside the `with` block."""
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
