"""What the programs work on, made once per run on the local disk, without a network."""

import base64
import hashlib
import io
import json
import os
import random
import tarfile
import zipfile
from pathlib import Path

WHEEL = "greeting-1.0-py3-none-any.whl"

MTIME = 1_000_000_000

C_SOURCES = {
    "Makefile": "CFLAGS = -O0\nprogram: main.o answer.o\n\t$(CC) -o $@ $^\nmain.o answer.o: answer.h\n"
    "clean:\n\trm -f *.o program\n",
    "answer.h": "int answer(void);\n",
    "answer.c": '#include "answer.h"\nint answer(void) { return 42; }\n',
    "main.c": '#include <stdio.h>\n#include "answer.h"\n'
    'int main(void) { printf("%d\\n", answer()); return 0; }\n',
}


BUILD_CACHE = '''
"""Does to files what cargo and rustc do: a lock on the target folder, fingerprints by times, caches of one
build that the next one links or copies, and programs that are linked, or copied, to where users look."""
import fcntl, os, shutil, sys
from pathlib import Path

def link_or_copy(source, target):
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)
    assert target.read_bytes() == source.read_bytes()

def build(profile):
    top = Path("target", profile)
    deps, caches, prints = (top / name for name in ("deps", "incremental", ".fingerprint"))
    for folder in (deps, caches, prints):
        folder.mkdir(parents=True, exist_ok=True)
    with open(top / ".cargo-lock", "a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        source, stamp = Path("src/main"), prints / "invoked.timestamp"
        if stamp.exists() and source.stat().st_mtime_ns <= stamp.stat().st_mtime_ns:
            return "fresh"
        # The time when the build began, by the clock of the file system.
        started = prints / ".started"
        started.write_bytes(b"")
        when = started.stat().st_mtime_ns
        older = sorted(caches.iterdir())
        session = caches / f"s-{len(older)}-working"
        session.mkdir()
        for kept in older[-1].iterdir() if older else ():
            link_or_copy(kept, session / kept.name)
        for number in range(6):
            part = session / f"{number}.o"
            part.unlink(missing_ok=True)
            part.write_bytes(source.read_bytes() * number)
            part.chmod(0o755 if number == 1 else 0o644)
        os.rename(session, caches / f"s-{len(older)}")
        for stale in older:
            shutil.rmtree(stale)
        program = deps / "program-0123"
        link_or_copy(caches / f"s-{len(older)}" / "1.o", program)
        link_or_copy(program, top / "program")
        os.replace(started, stamp)
        os.utime(stamp, ns=(when, when))
        return "built"

Path("src").mkdir(exist_ok=True)
if not Path("src/main").exists():
    Path("src/main").write_text("source\\n")
print([build(profile) for profile in ("debug", "release", "debug")])
'''


def make_inputs(folder: Path) -> None:
    """Fill an empty folder."""
    _make_tree(folder / "tree")
    for name, text in C_SOURCES.items():
        file = folder / "c" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    (folder / "build_cache.py").write_text(BUILD_CACHE)
    _make_wheel(folder / "wheels" / WHEEL)
    _make_package(folder / "package.tgz")
    with (folder / "sparse").open("wb") as sparse:
        sparse.truncate(3 * 1024 * 1024 + 77)
        sparse.seek(1024 * 1024)
        sparse.write(b"data in between" * 1000)


def _make_tree(top: Path) -> None:
    """Files and folders with odd names, modes and times, and symlinks of each kind."""
    chance = random.Random(3)
    for number in range(24):
        folder = top / f"folder {number % 4}" / "ünder"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"file-{number}"
        file.write_bytes(chance.randbytes(chance.choice([0, 1, 4096, 9999])))
        file.chmod(chance.choice([0o644, 0o600, 0o755, 0o444]))
    (top / "folder 0" / "to a file").symlink_to("ünder/file-0")
    (top / "folder 1" / "to a folder").symlink_to("../folder 2")
    (top / "dangling").symlink_to("nowhere/at/all")
    (top / "empty").mkdir(mode=0o700)
    for number, (folder_name, _, names) in enumerate(sorted(os.walk(top, topdown=False))):
        for name in (*names, "."):
            when = (MTIME + number) * 1_000_000_000 + 123_456_789
            os.utime(Path(folder_name, name), ns=(when, when), follow_symlinks=False)


def _make_wheel(path: Path) -> None:
    content = {
        "greeting/__init__.py": "def main():\n    print('hello from a wheel')\n",
        "greeting/data/words.txt": "some words\n" * 500,
        "greeting-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n",
        "greeting-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
        "greeting-1.0.dist-info/entry_points.txt": "[console_scripts]\ngreet = greeting:main\n",
    }
    record = "greeting-1.0.dist-info/RECORD"
    rows = [f"{name},sha256={_digest(text)},{len(text)}" for name, text in content.items()]
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in (content | {record: "\n".join([*rows, f"{record},,", ""])}).items():
            wheel.writestr(name, text)


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def _make_package(path: Path) -> None:
    manifest = {"name": "greeting", "version": "1.0.0", "bin": {"greet": "greet.js"}}
    files = {
        "package/package.json": json.dumps(manifest),
        "package/greet.js": "#!/usr/bin/env node\nconsole.log('hello from a package')\n",
        "package/lib/words.txt": "some words\n" * 500,
    }
    with tarfile.open(path, "w:gz") as package:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(text), 0o644, MTIME
            package.addfile(entry, io.BytesIO(text.encode()))
