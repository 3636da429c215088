"""A cache that many machines share: entries under a URL that fsspec can read (`s3://`, `gs://`, `hf://`, `file://` …).

Fetched entries are checked like all others. If the store still fails after several tries, this is logged once and the
store is skipped. The build continues with the folder of this machine and the models.
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

from mkdocs_attnviz.cache.content import Content, received, write
from mkdocs_attnviz.cache.entry_schema import LARGEST
from mkdocs_attnviz.cache.files import replacing
from mkdocs_attnviz.cache.folder import StoreError
from mkdocs_attnviz.cache.key import SUFFIX, file_name
from mkdocs_attnviz.log import Log

Result = TypeVar("Result")

TRIES = 5
"""The number of tries for each call."""
AT_ONCE = 64  # entries in one request; they are written to the folder before more are held in memory
PIECE = 4 << 20  # bytes; larger entries are requested one by one, in pieces
BLOCK = 8 << 20  # bytes; larger entries are sent in parts, which have at least 5 MB for s3
AT_FIRST = 4  # entries in the first requests, until the speed is known
FAST, SLOW = 10.0, 60.0  # seconds; a faster request doubles the number for the next one, a slower request halves it
DEADLINE = 300.0  # seconds after which a call counts as failed; a slow line transfers 100 MB in this time
NOT_THERE = (FileNotFoundError, NotADirectoryError)


class Silent(Exception):
    """An error that says that a call has neither returned nor failed before the deadline."""


FINAL = (*NOT_THERE, PermissionError, ImportError, ValueError, NotImplementedError, Silent)
"""The errors that another try cannot fix."""


class Store:
    """A shared cache at `url`, with the same layout as the cache folder."""

    def __init__(self, url: str, log: Log, wait: float = 0.2) -> None:
        self.url, self.log, self.wait = url, log, wait
        self._opened: Any = None
        self._at_once = AT_FIRST

    def fetch(self, keys: Sequence[str], folder: Path | None = None) -> Iterator[tuple[str, Content]]:
        """Yield the key and content of each entry that the store has, whether it is damaged or not. Many are requested
        at once. A large one is a file in `folder` that is removed before the next one is requested.

        Raises:
            StoreError: if too many tries in a row have failed.
        """
        waiting = {self._path(key): key for key in keys}
        with self._store_errors("read"):
            while waiting:
                contents = self._with_retries(self._fetch_some, waiting)
                while contents:  # what is yielded is not held here any longer
                    path = next(iter(contents))
                    key, content = path.rpartition("/")[2].removesuffix(SUFFIX), contents.pop(path)
                    if len(content) <= PIECE:
                        yield key, content
                        continue
                    del content
                    yield from ((key, file) for file in self._large(path, folder))

    def _large(self, path: str, folder: Path | None) -> Iterator[Path]:
        """Yield the file to which a large entry is copied, unless it exceeds the limit or is gone."""
        try:
            size = self._with_retries(self._files().size, path)
            if not PIECE < size <= LARGEST:  # a device reports no size
                self.log.info("%s of the shared cache is not used: it has %d MB.", path, size >> 20)
                return
            with received(functools.partial(self._piece, path, size), size, folder) as file:
                yield file
        except (*NOT_THERE, EOFError):
            return

    def _piece(self, path: str, size: int, start: int) -> bytes:
        """Return a part of an object of `size` bytes; a server that knows no parts sends all of it."""
        stop = min(start + PIECE, size)
        piece: bytes = self._with_retries(self._files().cat_file, path, start=start, end=stop)
        return piece[start:stop] if len(piece) > stop - start else piece

    def _fetch_some(self, waiting: dict[str, str]) -> dict[str, bytes]:
        """Request the first bytes of the first few entries of `waiting`, and remove the settled ones from `waiting`.

        Raises:
            Exception: if every request has failed; it is the first of their errors.
        """
        paths = list(itertools.islice(waiting, self._at_once))
        contents, failures, start = {}, [], time.monotonic()
        pieces = self._files().cat_ranges(paths, 0, PIECE + 1, on_error="return")
        for path, answer in zip(paths, pieces, strict=True):
            if isinstance(answer, bytes):
                contents[path] = answer
                del waiting[path]
            elif isinstance(answer, NOT_THERE):
                del waiting[path]
            elif "range" in str(answer).lower() and self._files().size(path) == 0:  # an empty file has no ranges
                contents[path] = b""
                del waiting[path]
            else:
                failures.append(answer)
        seconds = time.monotonic() - start
        if seconds > SLOW:
            self._at_once = max(self._at_once // 2, 1)
        elif seconds < FAST and not failures:
            self._at_once = min(2 * self._at_once, AT_ONCE)
        if len(failures) == len(paths):
            raise failures[0]
        if failures:
            time.sleep(self.wait)  # the store may limit the rate of requests
        return contents

    def put(self, key: str, content: Content) -> None:
        """Write one entry. If the filesystem supports it, the name appears only when the entry is complete.

        Raises:
            StoreError: if the last try fails.
        """
        path = self._path(key)
        with self._store_errors("written"):
            self._with_retries(self._put, path, content)

    def _put(self, path: str, content: Content) -> None:
        """Write one entry, without another try."""
        from fsspec.implementations.local import LocalFileSystem

        files = self._files()
        if isinstance(
            files, LocalFileSystem
        ):  # its transactions copy from the folder for temporary files, which is not atomic
            with replacing(Path(path)) as stream:
                write(content, stream)
            return
        files.makedirs(path.rpartition("/")[0], exist_ok=True)
        try:
            whole = files.transaction
        except NotImplementedError:  # hf: each file is a commit of its own
            whole = contextlib.nullcontext()
        with whole:
            if isinstance(content, bytes):
                files.pipe_file(path, content)
                return
            with files.open(path, "wb", block_size=BLOCK) as stream:
                write(content, stream)

    def sizes(self) -> Mapping[str, int]:
        """Return the size of each entry in bytes, by key.

        Raises:
            StoreError: if the last try fails.
        """
        with self._store_errors("listed"):
            self._files().invalidate_cache()
            listed = {each["name"].rpartition("/")[2]: each["size"] for each in self._listed()}
        return {name.removesuffix(SUFFIX): size for name, size in listed.items() if name.endswith(SUFFIX)}

    def _listed(self) -> list[dict[str, Any]]:
        """Return what fsspec reports about each file."""
        from fsspec import AbstractFileSystem

        files = self._files()
        if getattr(files.find, "__func__", None) is not AbstractFileSystem.find:
            return self._about(lambda: files.find(self._root(), detail=True).values())
        # The general `find` ignores folders that cannot be listed, so each folder is listed here.
        ls = functools.partial(files.ls, detail=True)
        folders = [each["name"] for each in self._about(lambda: ls(self._root())) if each["type"] == "directory"]
        return [each for folder in folders for each in self._about(functools.partial(ls, folder))]

    def _about(self, listing: Callable[[], Iterable[dict[str, Any]]]) -> list[dict[str, Any]]:
        """Return the result of a listing; it is empty if the folder does not exist."""
        with contextlib.suppress(*NOT_THERE):
            return list(self._with_retries(listing))
        return []

    def remove(self, key: str) -> None:
        """Remove one entry.

        Raises:
            StoreError: if the last try fails.
        """
        path = self._path(key)
        with self._store_errors("written"), contextlib.suppress(*NOT_THERE):
            self._with_retries(self._files().rm_file, path)

    def _files(self) -> Any:
        """Return the filesystem."""
        return self._open()[0]

    def _root(self) -> str:
        """Return the path of the store in its filesystem."""
        root: str = self._open()[1]
        return root

    def _open(self) -> tuple[Any, str]:
        """Return the filesystem and the path. It is opened on first use, because a complete cache needs no network."""
        if self._opened is None:
            from fsspec.core import url_to_fs

            self._opened = _with_deadline(url_to_fs, self.url)
        opened: tuple[Any, str] = self._opened
        return opened

    def _path(self, key: str) -> str:
        """Return the path of an entry."""
        with self._store_errors("opened"):
            return f"{self._root().rstrip('/')}/{file_name(key)}"

    def _with_retries(self, call: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        """Return the result of the call after as many tries as it needs, or raise the error of the last one."""
        from tenacity import Retrying, retry_if_not_exception_type, stop_after_attempt, wait_exponential, wait_random

        again = Retrying(
            stop=stop_after_attempt(TRIES),
            wait=wait_exponential(self.wait, max=10) + wait_random(0, self.wait),
            retry=retry_if_not_exception_type(FINAL),
            reraise=True,
        )
        result: Result = again(_with_deadline, call, *arguments, **options)
        return result

    @contextlib.contextmanager
    def _store_errors(self, done: str) -> Iterator[None]:
        """Turn any error of a filesystem into a StoreError, because every filesystem raises different ones."""
        try:
            yield
        except StoreError:
            raise
        except ImportError as error:
            raise StoreError(
                f"The shared cache {self.url} cannot be opened: {error}; `pip install 'attnviz[share]'`, and "
                "what fsspec asks for s3, gs or abfs."
            ) from None
        except Silent:
            raise StoreError(
                f"The shared cache {self.url} cannot be {done}: no answer came in {DEADLINE:g} s."
            ) from None
        except Exception as error:
            reason = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
            raise StoreError(f"The shared cache {self.url} cannot be {done} ({reason}).") from None


def _with_deadline(call: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
    """Return the result of the call or raise its error. A call that exceeds the deadline is left running in its thread.

    Raises:
        Silent: if the call has not ended by the deadline.
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
