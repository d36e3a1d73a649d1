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


def make_inputs(folder: Path) -> None:
    """Fill an empty folder."""
    _make_tree(folder / "tree")
    for name, text in C_SOURCES.items():
        file = folder / "c" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
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
