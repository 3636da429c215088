"""Bytecode that a new environment gets: of the same content only, and as if it had been compiled there."""

import base64
import hashlib
import importlib.util
import os
import sys
import time

import bytecode

PACKAGES = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"


def environment(folder, source):
    """Make an environment with a distribution of one module, and return the module's file."""
    file = folder / PACKAGES / "cats" / "meow.py"
    file.parent.mkdir(parents=True)
    file.write_text(source)
    digest = base64.urlsafe_b64encode(hashlib.sha256(file.read_bytes()).digest()).rstrip(b"=").decode()
    record = folder / PACKAGES / "cats-1.dist-info" / "RECORD"
    record.parent.mkdir()
    record.write_text(f"cats/meow.py,sha256={digest},{len(source)}\ncats-1.dist-info/RECORD,,\n")
    return file


def code(file):
    """Return the code of a module, as an import does, which compiles it where there is no bytecode for it."""
    spec = importlib.util.spec_from_file_location("meow", file)
    return spec.loader.get_code("meow")


def test_the_same_content_is_compiled_once(tmp_path):
    (tmp_path / "store").mkdir()
    code(environment(tmp_path / "one", "def meow(): return 1\n"))
    bytecode.keep(tmp_path / "one", tmp_path / "store")
    second = environment(tmp_path / "two", "def meow(): return 1\n")
    os.utime(second, (0, 0))
    bytecode.take(tmp_path / "two", tmp_path / "store")
    [stored] = (tmp_path / "store").iterdir()
    [taken] = second.parent.glob("__pycache__/*")
    assert taken.samefile(stored)
    assert code(second).co_filename == str(second)
    assert taken.samefile(stored), "it was not compiled again"


def test_another_content_of_the_same_size_gets_none(tmp_path):
    (tmp_path / "store").mkdir()
    code(environment(tmp_path / "one", "meow = 1\n"))
    bytecode.keep(tmp_path / "one", tmp_path / "store")
    other = environment(tmp_path / "two", "meow = 2\n")
    bytecode.take(tmp_path / "two", tmp_path / "store")
    assert not list(other.parent.glob("__pycache__/*"))
    assert code(other).co_consts[0] == 2


def test_what_nobody_takes_is_removed(tmp_path):
    for name, age in (("old", bytecode.LONGEST + 60), ("new", 0)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, time.time() - age))
    bytecode.prune(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
