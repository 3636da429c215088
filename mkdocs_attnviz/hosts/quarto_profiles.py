"""The configuration of a Quarto project as Quarto puts it together: `_quarto.yml` with its active profiles, the local
file beside it, and the files that it includes.

A profile is a file `_quarto-NAME.yml` whose values are merged over those of `_quarto.yml`. Quarto's pages "Project
Profiles" and "Project Basics" say how; where they are silent, this module does what `project-profile.ts` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

PROFILE = "QUARTO_PROFILE"
"""The environment variable that names the active profiles. Quarto sets it, too, for what it runs."""
ENDINGS = (".yml", ".yaml")
LOCAL_FIRST = ("_environment.local", "_environment")
"""The files of environment variables. The first one that sets a variable wins."""
VARIABLE = re.compile(r"""^\s*(?:export\s+)?(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^#]*?))\s*(?:#.*)?$""")
INCLUDED = ("metadata-file", "metadata-files")
"""The keys that name files whose values are merged, too."""
Read = Callable[[Path], dict[str, Any]]
"""A function that returns the values in a file, and raises ValueError if it cannot be read."""


def with_profiles(
    config: Path, values: Mapping[str, Any], environment: Mapping[str, str], read: Read
) -> dict[str, Any]:
    """Return the values of a project's configuration with those of its profiles, its local file and its included files.

    Raises:
        ValueError: if one of these files cannot be read. The message is a sentence.
    """
    folder = config.resolve().parent
    local = _local(folder)
    names = active(folder, values, environment, _read(local, read) if local else {})
    files = [path for name in reversed(names) if (path := _first(folder, f"_quarto-{name}"))]
    merged = {key: value for key, value in values.items() if key != "profile"}
    for path in (*files, *([local] if local else [])):
        merged = _merged(merged, _read(path, read))
    for path in _included(folder, merged):
        merged = _merged(merged, _read(path, read))
    return merged


def active(
    folder: Path, values: Mapping[str, Any], environment: Mapping[str, str], local: Mapping[str, Any]
) -> list[str]:
    """Return the names of the active profiles, in order of priority.

    They are named by the environment, else by the project's file of environment variables, else by `profile: default`
    in the local file or in the configuration. Of each group, one profile is active: the first, if none is named.
    """
    profile = _mapping(values.get("profile"))
    named = (
        environment.get(PROFILE)
        or _from_file(folder)
        or _default(_mapping(local.get("profile")))
        or _default(profile)
        or ("connect" if environment.get("RSTUDIO_PRODUCT") == "CONNECT" else "")
    )
    names = [name for name in re.split(r"[ ,]+", named) if name]
    for group in _groups(profile.get("group")):
        if not set(group) & set(names):
            names.append(group[0])
    return names


def _mapping(value: Any) -> Mapping[str, Any]:
    """Return a value if it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def _default(profile: Mapping[str, Any]) -> str:
    """Return the profiles that are active by default, separated by commas."""
    default = profile.get("default")
    return ",".join(map(str, default)) if isinstance(default, list) else default if isinstance(default, str) else ""


def _groups(groups: Any) -> Iterator[list[str]]:
    """Yield the groups of profiles: one group is a list of names, several are a list of lists."""
    if isinstance(groups, list) and groups:
        several = groups if all(isinstance(group, list) for group in groups) else [groups]
        yield from (group for group in several if group and all(isinstance(name, str) for name in group))


def _from_file(folder: Path) -> str:
    """Return the profiles that the project's files of environment variables name; empty if none does."""
    for name in LOCAL_FIRST:
        try:
            lines = (folder / name).read_text("utf-8-sig").splitlines()
        except (OSError, ValueError):
            continue
        for line in lines:
            if (match := VARIABLE.match(line)) and match[1] == PROFILE:
                return next((value for value in match.groups()[1:] if value), "")
    return ""


def _first(folder: Path, stem: str) -> Path | None:
    """Return the first YAML file with this name that exists."""
    return next((path for ending in ENDINGS if (path := folder / f"{stem}{ending}").is_file()), None)


def _local(folder: Path) -> Path | None:
    """Return the file of values that belong to this copy of the project, or None."""
    paths = (folder / f"_quarto{ending}.local" for ending in ENDINGS)
    return next((path for path in paths if path.is_file()), None)


def _included(folder: Path, values: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the files that the configuration includes and that exist. Quarto itself says which are missing."""
    for key in INCLUDED:
        names = values.get(key)
        for name in [names] if isinstance(names, str) else names if isinstance(names, list) else []:
            if isinstance(name, str) and (folder / name).is_file():
                yield folder / name


def _read(path: Path, read: Read) -> dict[str, Any]:
    """Return the values in a file.

    Raises:
        ValueError: if it cannot be read. The message names it.
    """
    try:
        return read(path)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None


def _merged(values: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with others over them: mappings are merged, lists are joined, anything else is replaced."""
    merged = dict(values)
    for key, value in over.items():
        merged[key] = _merged_value(merged[key], value) if key in merged else value
    return merged


def _merged_value(value: Any, over: Any) -> Any:
    """Return one value with another over it."""
    if isinstance(value, list) or isinstance(over, list):
        lists = [each if isinstance(each, list) else [each] for each in (value, over) if each]
        return _distinct([each for values in lists for each in values])
    if isinstance(value, dict) and isinstance(over, dict):
        return _merged(value, over)
    return over


def _distinct(values: Sequence[Any]) -> list[Any]:
    """Return the values, each once. They are compared as JSON, because mappings cannot be in a set."""
    found: dict[str, Any] = {}
    for value in values:
        found.setdefault(json.dumps(value, sort_keys=True, default=str), value)
    return list(found.values())
