"""A cache that many machines share: entries under a URL that fsspec reads (`s3://`, `gs://`, `hf://`, `file://` …).

What comes from it is checked like any entry. What cannot be read or written after several tries is told once, and
costs no more: the folder of this machine and the models are still there.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, TypeVar

from mkdocs_attnviz.cache.entry_schema import LARGEST
from mkdocs_attnviz.cache.files import write_atomically
from mkdocs_attnviz.cache.folder import StoreError
from mkdocs_attnviz.cache.key import SUFFIX, file_name
from mkdocs_attnviz.log import Log

Result = TypeVar("Result")

TRIES = 5
AT_ONCE = 64  # entries that are asked for together; what came is in the folder before more is held in memory
PIECE = 4 << 20  # bytes; larger entries are asked for one by one
AT_FIRST = 4  # and until it is known how fast they come
FAST, SLOW = 10.0, 60.0  # seconds after which more are asked for together the next time, or fewer
DEADLINE = 300.0  # seconds after which nothing more is expected of a call; of a slow line, it brings 100 MB
NOT_THERE = (FileNotFoundError, NotADirectoryError)


class Silent(Exception):
    """A call has neither returned nor failed."""


FINAL = (*NOT_THERE, PermissionError, ImportError, ValueError, NotImplementedError, Silent)
"""Errors that no second try mends."""


class Store:
    """The place that `url` names; its layout is that of the cache's folder."""

    def __init__(self, url: str, log: Log, wait: float = 0.2) -> None:
        self.url, self.log, self.wait = url, log, wait
        self._opened: Any = None
        self._at_once = AT_FIRST

    def fetch(self, keys: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """The contents of those that are there, whole or not, many asked for at once and yielded as they come.

        Raises:
            StoreError: so many tries in a row brought nothing.
        """
        waiting = {self._path(key): key for key in keys}
        with self._told("read"):
            while waiting:
                for path, content in self._tried(self._fetch_some, waiting).items():
                    whole = content if len(content) <= PIECE else self._tried(self._whole, path)
                    if whole is not None:
                        yield path.rpartition("/")[2].removesuffix(SUFFIX), whole

    def _whole(self, path: str) -> bytes | None:
        """Return a large entry; None if it is too large for one, or gone."""
        try:
            size = self._files().size(path)
            if not PIECE < size <= LARGEST:  # a device tells none
                self.log.info("%s of the shared cache is not used: it has %d MB.", path, size >> 20)
                return None
            content: bytes = self._files().cat_file(path)
        except NOT_THERE:
            return None
        return content

    def _fetch_some(self, waiting: dict[str, str]) -> dict[str, bytes]:
        """One try for the first of `waiting`, of each a piece; what is settled is taken from there.

        Raises: one of the errors, if nothing could be settled.
        """
        paths = list(itertools.islice(waiting, self._at_once))
        came, failures, start = {}, [], time.monotonic()
        pieces = self._files().cat_ranges(paths, 0, PIECE + 1, on_error="return")
        for path, answer in zip(paths, pieces, strict=True):
            if isinstance(answer, bytes):
                came[path] = answer
                del waiting[path]
            elif isinstance(answer, NOT_THERE):
                del waiting[path]
            elif "range" in str(answer).lower() and self._files().size(path) == 0:  # of which no piece can be had
                came[path] = b""
                del waiting[path]
            else:
                failures.append(answer)
        took = time.monotonic() - start
        if took > SLOW:
            self._at_once = max(self._at_once // 2, 1)
        elif took < FAST and not failures:
            self._at_once = min(2 * self._at_once, AT_ONCE)
        if len(failures) == len(paths):
            raise failures[0]
        if failures:
            time.sleep(self.wait)  # the store may ask for slower
        return came

    def put(self, key: str, content: bytes) -> None:
        """Write one entry, under its name only when it is whole, where the filesystem can do that.

        Raises:
            StoreError: after the last try.
        """
        path = self._path(key)
        with self._told("written"):
            self._tried(self._put, path, content)

    def _put(self, path: str, content: bytes) -> None:
        from fsspec.implementations.local import LocalFileSystem

        files = self._files()
        if isinstance(files, LocalFileSystem):  # its own transaction copies from the folder for temporary files
            write_atomically(Path(path), content)
            return
        files.makedirs(path.rpartition("/")[0], exist_ok=True)
        try:
            whole = files.transaction
        except NotImplementedError:  # hf: each file is a commit of its own
            whole = contextlib.nullcontext()
        with whole:
            files.pipe_file(path, content)

    def sizes(self) -> Mapping[str, int]:
        """Bytes of each entry, by its key.

        Raises:
            StoreError: after the last try.
        """
        with self._told("listed"):
            self._files().invalidate_cache()
            listed = {each["name"].rpartition("/")[2]: each["size"] for each in self._listed()}
        return {name.removesuffix(SUFFIX): size for name, size in listed.items() if name.endswith(SUFFIX)}

    def _listed(self) -> list[dict[str, Any]]:
        """About each file."""
        from fsspec import AbstractFileSystem

        files = self._files()
        if getattr(files.find, "__func__", None) is not AbstractFileSystem.find:
            return self._about(lambda: files.find(self._root(), detail=True).values())
        # That of all others lists folder by folder, and passes over what cannot be listed.
        ls = functools.partial(files.ls, detail=True)
        folders = [each["name"] for each in self._about(lambda: ls(self._root())) if each["type"] == "directory"]
        return [each for folder in folders for each in self._about(functools.partial(ls, folder))]

    def _about(self, listing: Callable[[], Iterable[dict[str, Any]]]) -> list[dict[str, Any]]:
        with contextlib.suppress(*NOT_THERE):
            return list(self._tried(listing))
        return []

    def remove(self, key: str) -> None:
        """Raises: StoreError: after the last try."""
        path = self._path(key)
        with self._told("written"), contextlib.suppress(*NOT_THERE):
            self._tried(self._files().rm_file, path)

    def _files(self) -> Any:
        return self._open()[0]

    def _root(self) -> str:
        root: str = self._open()[1]
        return root

    def _open(self) -> tuple[Any, str]:
        """Filesystem and path; opened when it is first needed, since a full cache needs no network."""
        if self._opened is None:
            from fsspec.core import url_to_fs

            self._opened = _in_time(url_to_fs, self.url)
        opened: tuple[Any, str] = self._opened
        return opened

    def _path(self, key: str) -> str:
        with self._told("opened"):
            return f"{self._root().rstrip('/')}/{file_name(key)}"

    def _tried(self, call: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        """What the call returns, or the error of its last try."""
        from tenacity import Retrying, retry_if_not_exception_type, stop_after_attempt, wait_exponential, wait_random

        again = Retrying(
            stop=stop_after_attempt(TRIES),
            wait=wait_exponential(self.wait, max=10) + wait_random(0, self.wait),
            retry=retry_if_not_exception_type(FINAL),
            reraise=True,
        )
        result: Result = again(_in_time, call, *arguments, **options)
        return result

    @contextlib.contextmanager
    def _told(self, done: str) -> Iterator[None]:
        """What a filesystem raises is its own affair, and no two raise alike."""
        try:
            yield
        except StoreError:
            raise
        except ImportError as error:
            raise StoreError(
                f"The shared cache {self.url} cannot be opened: {error}; `pip install 'mkdocs-attnviz[share]'`, and "
                "what fsspec asks for s3, gs or abfs."
            ) from None
        except Silent:
            raise StoreError(
                f"The shared cache {self.url} cannot be {done}: no answer came in {DEADLINE:g} s."
            ) from None
        except Exception as error:
            reason = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
            raise StoreError(f"The shared cache {self.url} cannot be {done} ({reason}).") from None


def _in_time(call: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
    """Return what the call returns, or raise what it raises; one that does neither is left behind in its thread.

    Raises:
        Silent: nothing came of it by the deadline.
    """
    answer: Future[Result] = Future()

    def work() -> None:
        try:
            answer.set_result(call(*arguments, **options))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    done, _ = wait([answer], timeout=DEADLINE)
    if not done:
        raise Silent
    return answer.result()
