"""The engine `ray`, which runs models on many machines.

    requests ─ schedule ─▶ chunks ─ coordinator ─▶ actors, one for each GPU or CPU ─▶ a worker process each

This end needs neither torch nor transformers.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mkdocs_attnviz.log import Log
from mkdocs_attnviz.models.engine.client import Answer, EngineFailed
from mkdocs_attnviz.models.engine.ray.schedule import Waiting
from mkdocs_attnviz.models.engine.request import Request

try:
    import ray

    from mkdocs_attnviz.models.engine.ray.coordinator import Coordinator, first_line
except ImportError as error:
    raise ImportError(f"The engine `ray` needs Ray ({error}); install it with `pip install 'attnviz[ray]'`.") from error

PATIENCE = 300.0  # the time in seconds in which a cluster may start a node
REACH = 5.0  # the time in seconds in which its head must answer


class RayEngine:
    """An `Engine` on a Ray cluster.

    `address` is `HOST:6379` on a machine of the cluster and `ray://HOST:10001` elsewhere; without one, the cluster on
    this machine is used, or one is started. `workers` limits their number. `timeout` is the limit of each worker in
    seconds.
    """

    def __init__(
        self,
        address: str | None,
        log: Log,
        *,
        patience: float = PATIENCE,
        workers: int | None = None,
        timeout: float = 0,
    ) -> None:
        self.address, self.log, self.patience, self.workers = address, log, patience, workers
        self.timeout = timeout
        self.folder: Path | None = None
        """The folder in which large entries are put together; None for the system's."""
        self._ours = False

    def capture(
        self, requests: Sequence[Request], *, device: str, batch_size: int, max_tokens: int
    ) -> Iterator[Answer]:
        """Yield one answer to every request, in the order of completion.

        Raises:
            EngineFailed: there is no cluster, or the connection to it was lost.
        """
        self._connect()
        # a model with a `device_map` takes all GPUs of a node, so no other worker may hold one
        for spread in (False, True):
            places = [place for place, request in enumerate(requests) if request.spread == spread]
            waiting = Waiting([requests[place] for place in places], batch_size)
            coordinator = Coordinator(waiting, device, spread, self.log, self.patience, self.workers, self.folder)
            answers = coordinator.answers({"batch_size": batch_size, "max_tokens": max_tokens, "timeout": self.timeout})
            with contextlib.closing(coordinator), _raise_if_lost():
                for answer in answers:
                    yield replace(answer, index=places[answer.index])

    def close(self) -> None:
        if self._ours:
            ray.shutdown()
        self._ours = False

    def _connect(self) -> None:
        if ray.is_initialized():
            return
        address = self.address or os.environ.get("RAY_ADDRESS")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            _reach(address)
            ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:
            where = "is none" if address is None else f"{address!r} cannot be used"
            raise EngineFailed(
                f"The Ray cluster {where}: {first_line(error)}. Its address is `HOST:6379` on one of its machines and "
                "`ray://HOST:10001` on others; one that was started with a token wants `RAY_AUTH_MODE=token` here."
            ) from error
        self._ours = True


@contextlib.contextmanager
def _raise_if_lost() -> Iterator[None]:
    """Raise EngineFailed if the connection breaks; with `ray://`, Ray raises one of several errors then."""
    try:
        yield
    except (ConnectionError, ValueError) as error:
        if isinstance(error, ValueError) and "closed channel" not in str(error):
            raise
        raise EngineFailed(f"The Ray cluster was lost ({first_line(error)}); what had come from it is kept.") from error


def _reach(address: str | None) -> None:
    """Check that the cluster can be reached. Ray itself would wait for minutes and then end the whole process.

    Raises:
        OSError: nothing listens there.
        ValueError: the address has no port.
    """
    if address in (None, "", "auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:
        raise ValueError("it has no port")
    socket.create_connection((host.strip("[]"), int(port)), REACH).close()
