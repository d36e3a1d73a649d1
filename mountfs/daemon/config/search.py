"""Finds configured mounts in the folders where configuration belongs."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mountfs.daemon.config.file import ConfiguredMount, ReadFile, examine, read_config
from mountfs.daemon.errors import ConfigurationRefused
from mountfs.daemon.running import shown

SYSTEM_FOLDER: Final = Path("/etc/mountfs")


def folders(environment: Mapping[str, str] = os.environ) -> list[Path]:
    """Return the folders that are searched; what an earlier one has goes over what a later one has."""
    configured = environment.get("XDG_CONFIG_HOME", "")
    # The XDG specification asks to ignore relative values.
    base = Path(configured) if configured.startswith("/") else Path.home() / ".config"
    return [base / "mountfs", SYSTEM_FOLDER]


@dataclass(frozen=True, slots=True)
class Configured:
    """What the folders hold, or `file` alone. `faults`: one line for each thing that is wrong; files with
    faults are left out."""

    mounts: Mapping[str, ConfiguredMount]
    faults: Sequence[str]
    file: Path | None = None

    def named(self, name: str) -> ConfiguredMount:
        """Raises ConfigurationRefused: for the first fault, if the name may be in a file that has one."""
        if name in self.mounts:
            return self.mounts[name]
        if self.faults:
            raise ConfigurationRefused(self.faults[0])
        known = ", ".join(self.mounts) or "none"
        places = f"a file in {folders()[0]} or {SYSTEM_FOLDER}" if self.file is None else str(self.file)
        raise ConfigurationRefused(
            f"no mount is named {shown(name)}; configured are: {known}",
            hint=f"add [mounts.{shown(name)}] to {shown(places)}",
        )

    def at(self, mountpoint: Path) -> ConfiguredMount | None:
        """Return the mount that belongs at this place."""
        return next((each for each in self.mounts.values() if each.mountpoint() == mountpoint), None)


def search(places: Sequence[Path] | None = None) -> Configured:
    """Read all files of the folders (default: `folders()`). A fault of one file does not hide the others."""
    mounts: dict[str, ConfiguredMount] = {}
    faults: list[str] = []
    for folder in places if places is not None else folders():
        here: dict[str, ConfiguredMount] = {}
        for path in _files(folder, faults):
            wrong, file = examine(path)
            faults += wrong
            for each in _mounts_of(file):
                assert each.name is not None
                if each.name in here:
                    other = shown(str(here[each.name].path))
                    faults.append(f"{shown(str(path))}: {other} has a mount {each.name}, too")
                else:
                    here[each.name] = each
        mounts = here | mounts
    return Configured(mounts, faults + _shared(mounts))


def in_file(path: Path) -> Configured:
    """Read this file alone. Raises ConfigurationRefused where it has a fault."""
    mounts = {each.name: each for each in _mounts_of(read_config(path)) if each.name is not None}
    return Configured(mounts, _shared(mounts), path)


def _mounts_of(file: ReadFile | None) -> list[ConfiguredMount]:
    return [] if file is None else [file.mount(name) for name in file.names()]


def _files(folder: Path, faults: list[str]) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".toml")
    except FileNotFoundError:
        return []
    except OSError as error:
        faults.append(f"{shown(str(folder))} cannot be read: {error.strerror}")
        return []


def _shared(mounts: Mapping[str, ConfiguredMount]) -> list[str]:
    """Tell of what two mounts cannot both have."""
    faults = []
    for key in ("mountpoint", "cache"):
        first: dict[object, str] = {}
        for name, mount in mounts.items():
            given = mount.given.get(key)
            if given is None:
                continue
            if given.value in first:
                faults.append(f"{given.origin}: {name} has the {key} of {first[given.value]}, too")
            first.setdefault(given.value, name)
    return faults
