"""The environment variables that a worker process gets."""

import os
from pathlib import Path

import huggingface_hub
import pytest

from mkdocs_attnviz.models.engine.client import Worker
from mkdocs_attnviz.models.engine.environment import hub_tokens, temporary_variables, worker_environment

pytestmark = pytest.mark.usefixtures("cold_workers")
SECRETS = {
    "GITHUB_TOKEN": "s1",
    "AWS_SECRET_ACCESS_KEY": "s2",
    "AWS_SESSION_TOKEN": "s3",
    "GOOGLE_APPLICATION_CREDENTIALS": "s4",
    "ATTNVIZ_SIGNING_KEY": "s5",
    "HF_TOKEN": "s6",
    "HUGGING_FACE_HUB_TOKEN": "s7",
    "NPM_AUTH": "s8",
    "PYTHON_KEYRING_PASSWORD": "s9",
    "CUDA_API_KEY": "s10",
    "MY_DATABASE_URL": "s11",
}
NEEDED = {
    "PATH": "/bin",
    "HOME": "/home/a",
    "HF_HOME": "/hub",
    "HF_TOKEN_PATH": "/hub/token",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "true",
    "CUDA_VISIBLE_DEVICES": "1",
    "OMP_NUM_THREADS": "2",
    "https_proxy": "http://proxy:3128",
    "SSL_CERT_FILE": "/ca.pem",
    "LD_LIBRARY_PATH": "/lib",
    "PYTHONPATH": "/packages",
    "LC_ALL": "C.UTF-8",
    "SystemRoot": "C:\\Windows",
    "ProgramFiles(x86)": "C:\\Programs",
    "__CF_USER_TEXT_ENCODING": "0x1F5:0:0",
}


def test_what_a_worker_needs_and_no_secret():
    assert worker_environment(SECRETS | NEEDED) == NEEDED
    more = {"ATTNVIZ_WORKER_ENV": "MECABRC, my_database_url", "MECABRC": "/etc/mecabrc"}
    assert worker_environment(SECRETS | more) == {"MECABRC": "/etc/mecabrc", "MY_DATABASE_URL": "s11"}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="of Linux")
def test_a_real_worker_has_no_secret_to_publish(monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    worker = Worker()
    worker.start()
    try:
        known = Path(f"/proc/{worker._process.pid}/environ").read_bytes().decode().split("\0")
        assert any(line.startswith("PATH=") for line in known)
        assert not {line.partition("=")[0] for line in known} & SECRETS.keys()
    finally:
        worker.close()


def test_the_hubs_tokens_are_known_for_one_job(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    tokens = hub_tokens(os.environ)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_TOKEN_PATH", "/nowhere")
    with temporary_variables(tokens):
        assert huggingface_hub.get_token() == "hf_secret"
    assert "HF_TOKEN" not in os.environ


@pytest.mark.parametrize(("local", "told"), [(True, None), (False, {"HF_TOKEN": "hf_secret"})])
def test_a_job_tells_tokens_only_where_a_model_of_the_hub_is_loaded(monkeypatch, local, told):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    sent = []
    monkeypatch.setattr(
        "mkdocs_attnviz.models.engine.client.write_message", lambda stream, message: sent.append(message)
    )
    worker = Worker()
    try:
        worker._send({"op": "capture", "models": {"model": {"local": local}, "other": {"local": True}}}, 0)
        worker._send({"op": "warm"}, 0)
    finally:
        worker.close()
    assert [message.get("secrets") for message in sent] == [told, None]
