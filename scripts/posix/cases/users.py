"""The matrices of conformance suites: owners, groups of the caller, set-id bits and sticky directories."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from scripts.posix.cases.kinds import MAKERS
from scripts.posix.clock import let_a_step_pass
from scripts.posix.notes import Notes, Place
from scripts.posix.syscalls import (
    RENAME_EXCHANGE,
    UTIME_NOW,
    UTIME_OMIT,
    link_descriptor,
    renameat2,
    utimensat,
)

OWNER, OTHER = 1001, 1002
GROUP, FURTHER, FOREIGN = 2001, 2002, 2003

OWNABLE = {kind: make for kind, make in MAKERS.items() if "link" not in kind}


def _owned(path: Path, kind: str, mode: int, owner: int = OWNER, group: int = GROUP) -> Path:
    MAKERS[kind](path)
    os.lchown(path, owner, group)
    if "link" not in kind:
        os.chmod(path, mode)
    return path


def changing_the_group(at: Place, note: Notes) -> None:
    """An owner may give a file to the groups it is in; that takes the set-id bits and moves ctime."""
    at.top.chmod(0o777)
    for kind in MAKERS:
        for mode in (0o6777, 0o2766, 0o4711, 0o1777) if kind in ("file", "empty directory") else (0o6755,):
            path = _owned(at / f"{kind}-{mode:o}".replace(" ", "-"), kind, mode)

            def tried(own: Notes, path: Path = path) -> None:
                for uid, gid in (
                    (-1, FURTHER),
                    (OWNER, GROUP),
                    (OWNER, -1),
                    (-1, -1),
                    (-1, FOREIGN),
                    (OTHER, -1),
                    (OTHER, FURTHER),
                    (0, 0),
                ):
                    before = os.lstat(path).st_ctime_ns
                    let_a_step_pass()
                    own(f"chown {uid} {gid}", os.lchown, path, uid, gid)
                    own.status("after", path)
                    own.value("ctime moves", os.lstat(path).st_ctime_ns > before)

            note.by_user(OWNER, tried, group=GROUP, groups=(FURTHER,))
            note.by_user(OTHER, tried, group=GROUP, groups=(FURTHER,))


def changing_the_mode(at: Place, note: Notes) -> None:
    """The set-group-id bit stays only where the caller is in the group, the sticky bit as the kernel says."""
    at.top.chmod(0o777)
    for kind in OWNABLE:
        path = _owned(at / kind.replace(" ", "-"), kind, 0o755, group=FURTHER)

        def tried(own: Notes, path: Path = path) -> None:
            for mode in (0o2755, 0o6755, 0o1755, 0o7777, 0o4700, 0):
                before = os.lstat(path).st_ctime_ns
                let_a_step_pass()
                own(f"chmod {mode:o}", os.chmod, path, mode)
                own.status("after", path)
                own.value("ctime moves", os.lstat(path).st_ctime_ns > before)

        note.by_user(OWNER, tried, group=GROUP)
        note.by_user(OWNER, tried, group=GROUP, groups=(FOREIGN, FURTHER))
        note.by_user(OWNER, tried, group=FURTHER)
        note.by_user(OTHER, tried, group=FURTHER)


def groups_of_new_entries(at: Place, note: Notes) -> None:
    """With and without the set-group-id bit of the directory, by callers in its group and not."""
    for mode in (0o777, 0o2777, 0o3777):
        top = at / f"{mode:o}"
        top.mkdir()
        os.chown(top, OWNER, FURTHER)
        os.chmod(top, mode)

        def made(own: Notes, top: Path = top) -> None:
            os.umask(0)
            for kind in ("file", "empty directory", "link to a file", "fifo", "socket"):
                path = top / f"{kind}-{os.getgid()}-{len(os.getgroups())}".replace(" ", "-")
                own(f"make {kind}", MAKERS[kind], path)
                own.status(kind, path)
            for bits in (0o2755, 0o2771, 0o6777, 0o2644):
                path = top / f"mode-{bits:o}-{os.getgid()}-{len(os.getgroups())}"
                own(f"open {bits:o}", lambda bits=bits, path=path: os.close(os.open(path, os.O_CREAT, bits)))
                own.status("after", path)
                own(f"mkdir {bits:o}", os.mkdir, f"{path}-d", bits)
                own.status("after", Path(f"{path}-d"))
                own(f"mknod {bits:o}", os.mknod, f"{path}-n", stat.S_IFREG | bits)
                own.status("after", Path(f"{path}-n"))
            descriptor = os.open(top, os.O_TMPFILE | os.O_RDWR, 0o2755)
            own.status("without a name", descriptor)
            own("named", link_descriptor, descriptor, top / f"named-{os.getgid()}-{len(os.getgroups())}")
            os.close(descriptor)

        note.by_user(OTHER, made, group=GROUP)
        note.by_user(OTHER, made, group=GROUP, groups=(FURTHER,))
        note.by_user(OTHER, made, group=FURTHER)


def set_id_bits_at_a_change(at: Place, note: Notes) -> None:
    """Each way to change content, by the owner, by others in the group and not."""
    at.top.chmod(0o777)
    changes: dict[str, Callable[[int], object]] = {
        "write": lambda fd: os.write(fd, b"y"),
        "write of nothing": lambda fd: os.write(fd, b""),
        "pwrite behind the end": lambda fd: os.pwrite(fd, b"y", 9000),
        "ftruncate": lambda fd: os.ftruncate(fd, 1),
        "ftruncate to the same": lambda fd: os.ftruncate(fd, 100),
        "fallocate": lambda fd: os.posix_fallocate(fd, 0, 9000),
        "copy": lambda fd: os.copy_file_range(fd, fd, 10, 0, 50),
        "fsync": os.fsync,
    }
    for number, (user, group, groups) in enumerate(
        ((OWNER, GROUP, ()), (OTHER, GROUP, ()), (OTHER, FOREIGN, (GROUP,)), (OTHER, FOREIGN, ()))
    ):
        for mode in (0o6777, 0o2777, 0o2767, 0o4777):
            paths = {}
            for name in (*changes, "truncate", "open with O_TRUNC", "truncate to the same"):
                paths[name] = at / f"{number}-{mode:o}-{name}".replace(" ", "-")
                paths[name].write_bytes(b"x" * 100)
                os.chown(paths[name], OWNER, GROUP)
                os.chmod(paths[name], mode)

            def changed(own: Notes, paths: dict[str, Path] = paths) -> None:
                for name, path in paths.items():
                    if name == "truncate":
                        own(name, os.truncate, path, 3)
                    elif name == "truncate to the same":
                        own(name, os.truncate, path, 100)
                    elif name == "open with O_TRUNC":
                        own(name, lambda path=path: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)))
                    else:
                        descriptor = os.open(path, os.O_RDWR)
                        own(name, lambda name=name, fd=descriptor: changes[name](fd) and None)
                        own.status("while it is open", descriptor)
                        os.close(descriptor)
                    own.status("after", path)

            note.by_user(user, changed, group=group, groups=groups)


def sticky_directories(at: Place, note: Notes) -> None:
    """unlink, rmdir and rename by everybody, of entries of everybody, in directories of everybody."""
    at.top.chmod(0o777)
    for folder_owner in (0, OWNER, OTHER):
        for entry_owner in (0, OWNER, OTHER):
            for mode in (0o1777,):
                top = at / f"{folder_owner}-{entry_owner}-{mode:o}"
                _sticky(top, mode, folder_owner, entry_owner, note)


STICKY_KINDS = ("file", "empty directory", "link to a file", "fifo")


def _sticky(top: Path, mode: int, folder_owner: int, entry_owner: int, note: Notes) -> None:
    for user in (OWNER, OTHER):
        top.mkdir()
        for kind in STICKY_KINDS:
            for name in ("removed", "moved", "replaced", "exchanged"):
                path = _owned(top / f"{kind}-{name}".replace(" ", "-"), kind, 0o777, entry_owner, GROUP)
                assert os.path.lexists(path)
        os.chown(top, folder_owner, GROUP)
        os.chmod(top, mode)

        def tried(own: Notes) -> None:
            for kind in STICKY_KINDS:
                prefix = f"{top}/{kind}-".replace(" ", "-")
                mine = f"{prefix}mine"
                MAKERS[kind](Path(mine))
                own(f"unlink {kind}", os.unlink, f"{prefix}removed")
                own(f"rmdir {kind}", os.rmdir, f"{prefix}removed")
                own(f"move {kind}", os.rename, f"{prefix}moved", f"{prefix}away")
                own(f"exchange {kind}", renameat2, Path(mine), Path(f"{prefix}exchanged"), RENAME_EXCHANGE)
                own(f"replace {kind}", os.rename, mine, f"{prefix}replaced")
            own("left", os.listdir, top)

        note.by_user(user, tried)
        shutil.rmtree(top)


REPLACED = (*STICKY_KINDS, "nothing")


def renames_between_sticky_directories(at: Place, note: Notes) -> None:
    """rename(2) out of one and into one, of each kind over each kind, of entries of everybody."""
    at.top.chmod(0o777)
    for sticky in ("from", "to"):
        for folder_owner in (OWNER, OTHER):
            for entry_owner in (0, OWNER, OTHER):
                top = at / f"{sticky}-{folder_owner}-{entry_owner}"
                for name in ("from", "to"):
                    (top / name).mkdir(parents=True)
                pairs = [
                    _renamed(top, source, target, entry_owner, sticky)
                    for source in STICKY_KINDS
                    for target in REPLACED
                ]
                os.chown(top / sticky, folder_owner, GROUP)
                (top / "from").chmod(0o777)
                (top / "to").chmod(0o777)
                (top / sticky).chmod(0o1777)

                def tried(own: Notes, pairs: list[tuple[Path, Path]] = pairs) -> None:
                    for source, target in pairs:
                        own(target.name, os.rename, source, target)
                        for path in (source, target):
                            own.status("after it", path)

                note.by_user(OWNER, tried)


def _renamed(top: Path, source: str, target: str, entry_owner: int, sticky: str) -> tuple[Path, Path]:
    """Make what is renamed and what is replaced; what is in the sticky directory belongs to `entry_owner`."""
    name = f"{source}-over-{target}".replace(" ", "-")
    _owned(top / "from" / name, source, 0o755, entry_owner if sticky == "from" else OWNER)
    if target != "nothing":
        _owned(top / "to" / name, target, 0o755, entry_owner if sticky == "to" else OWNER)
    return top / "from" / name, top / "to" / name


def moving_directories(at: Place, note: Notes) -> None:
    """A directory that moves to another parent has to be writable itself."""
    for name in ("from", "to"):
        (at / name).mkdir()
        os.chmod(at / name, 0o777)
    for mode in (0o777, 0o555, 0o755, 0o000):
        for owner in (OWNER, OTHER):
            path = _owned(at / "from" / f"{mode:o}-{owner}", "empty directory", mode, owner)

            def tried(own: Notes, path: Path = path) -> None:
                own("within", os.rename, path, f"{path}-moved")
                own("away", os.rename, f"{path}-moved", at / "to" / path.name)

            note.by_user(OWNER, tried)


def access(at: Place, note: Notes) -> None:
    """access(2) goes by the real ids, faccessat(2) with AT_EACCESS by the effective ones."""
    at.top.chmod(0o777)
    for mode in (0o400, 0o040, 0o004, 0o777, 0o070, 0o000, 0o755):
        for kind in ("file", "empty directory"):
            path = _owned(at / f"{kind}-{mode:o}".replace(" ", "-"), kind, mode, group=FURTHER)

            def asked(own: Notes, path: Path = path) -> None:
                for how in (os.F_OK, os.R_OK, os.W_OK, os.X_OK, os.R_OK | os.W_OK):
                    own(f"access {how}", os.access, path, how)
                    own(f"effectively {how}", lambda how=how: os.access(path, how, effective_ids=True))
                own("open", lambda: os.close(os.open(path, os.O_RDONLY)))

            note.by_user(OWNER, asked, group=GROUP)
            note.by_user(OTHER, asked, group=GROUP, groups=(FURTHER,))
            note.by_user(OTHER, asked, group=GROUP)

            def effectively(own: Notes, path: Path = path) -> None:
                os.setgroups([])
                os.setresgid(FOREIGN, FOREIGN, FOREIGN)
                os.setresuid(OTHER, OWNER, 0)
                for how in (os.R_OK, os.W_OK, os.X_OK):
                    own(f"really {how}", os.access, path, how)
                    own(f"effectively {how}", lambda how=how: os.access(path, how, effective_ids=True))
                own("open", lambda: os.close(os.open(path, os.O_RDONLY)))
                if path.is_file():
                    own("chmod", os.chmod, path, 0o640)
                    own("made", lambda: os.close(os.open(f"{path}-made", os.O_CREAT, 0o600)))
                    own.status("of the effective one", Path(f"{path}-made"))

            note.by_child("as somebody else", effectively)


def times_by_others(at: Place, note: Notes) -> None:
    """utimensat(2): what the owner may, what who may write may, and what nobody else may."""
    at.top.chmod(0o777)
    for mode in (0o666, 0o644, 0o200, 0o444, 0o000):
        for kind in ("file", "empty directory", "fifo"):
            path = _owned(at / f"{kind}-{mode:o}".replace(" ", "-"), kind, mode)

            def tried(own: Notes, path: Path = path) -> None:
                for first in ((0, UTIME_NOW), (0, UTIME_OMIT), (3, 4)):
                    for second in ((0, UTIME_NOW), (0, UTIME_OMIT), (5, 6)):
                        own(f"{first} {second}", utimensat, path, first, second)
                        own.value(
                            "set",
                            [
                                ns if ns < 10**12 else "now"
                                for ns in (os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns)
                            ],
                        )

            for user, group, groups in ((OWNER, FOREIGN, ()), (OTHER, GROUP, ()), (OTHER, FOREIGN, (GROUP,))):
                note.by_user(user, tried, group=group, groups=groups)


CASES = (
    changing_the_group,
    changing_the_mode,
    groups_of_new_entries,
    set_id_bits_at_a_change,
    sticky_directories,
    renames_between_sticky_directories,
    moving_directories,
    access,
    times_by_others,
)
