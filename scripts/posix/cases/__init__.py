"""The cases, each a function of a place and its notes: what it notes has to be equal everywhere."""

from collections.abc import Callable

from scripts.posix.cases import (
    attributes,
    content,
    descriptors,
    directories,
    errors,
    kinds,
    listings,
    locks,
    mapped,
    moved_times,
    names,
    open_files,
    permissions,
    ranges,
    special,
    users,
    xattrs,
)
from scripts.posix.notes import Notes, Place

Case = Callable[[Place, Notes], None]

MODULES = (
    *(names, directories, listings, content, ranges, open_files, descriptors, mapped, kinds),
    *(attributes, moved_times, permissions, users, special, xattrs, locks, errors),
)

CASES: dict[str, Case] = {
    f"{module.__name__.rpartition('.')[2]}.{case.__name__}": case
    for module in MODULES
    for case in module.CASES
}
