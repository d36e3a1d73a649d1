"""One shell script for each program, run in an empty folder. `$IN` holds the inputs, `$PYTHON` is ours.

What it prints has to be the same wherever the folder lies.
"""

from typing import Final

GIT: Final = """
export GIT_AUTHOR_DATE='2001-02-03T04:05:06Z' GIT_COMMITTER_DATE='2001-02-03T04:05:06Z'
git() { command git -c user.name=T -c user.email=t@example.org -c core.fsync=none "$@"; }
git init -q -b main repository; cd repository
cp -a "$IN/tree/." .; git add .; git commit -qm one
git checkout -qb side; echo side > side; chmod +x side; git add .; git commit -qm side
git checkout -q main; git mv 'folder 0' moved; rm dangling; ln -s 'other place' dangling
git add .; git commit -qm two; git tag v1
git checkout -q side; git rebase -q main; git log --format='%h %s'
git worktree add -q ../worktree main; git -C ../worktree status --porcelain --branch
git stash list; echo changed >> side; git stash -q; git stash pop -q; git diff --stat; git checkout -q side
git gc -q --prune=now; git fsck --full --strict; git status --porcelain
git clone -q . ../clone; git -C ../clone fsck; git -C ../clone ls-files -s
git worktree remove ../worktree; git worktree prune
"""

TAR: Final = """
tar -C "$IN" --sort=name -cf packed.tar tree; sha256sum < packed.tar
tar -xpf packed.tar; tar -df packed.tar
tar --sort=name -cf again.tar tree; cmp packed.tar again.tar
mkdir exact
tar --format=posix -C "$IN" --pax-option=delete=atime,delete=ctime -cf - tree | tar -C exact -xpf -
find exact -mindepth 1 -printf '%P %y %m %T@ %l\\n' | LC_ALL=C sort
"""

RSYNC: Final = """
rsync -a "$IN/tree/" copy/; rsync -ani --delete "$IN/tree/" copy/
rsync -ac --inplace "$IN/tree/" copy/; find copy -printf '%P %y %m %T@ %l\\n' | LC_ALL=C sort
mkdir back; rsync -a copy/ back/; rsync -anic --delete "$IN/tree/" back/
rsync -a --link-dest="$PWD/copy" copy/ linked/ || echo 'no hard links: copied'
diff -r --no-dereference copy linked
"""

COPIES: Final = """
cp -a "$IN/tree" tree; diff -r --no-dereference "$IN/tree" tree
find tree -printf '%P %m %T@ %l\\n' | LC_ALL=C sort
cp --sparse=always "$IN/sparse" sparse; cp --sparse=never sparse full
cmp sparse full; cmp sparse "$IN/sparse"
test $(stat -c %b sparse) -lt $(stat -c %b full) && echo 'the sparse one takes less'
cp --reflink=auto full reflinked; cmp full reflinked
for size in 1 511 513 4095 4097 65537; do
    dd if=full of=part-$size bs=$size count=7 skip=3 status=none
    dd if=part-$size of=shifted bs=$size seek=2 conv=notrunc status=none
done
sha256sum part-* shifted
dd if=full of=direct bs=64k iflag=fullblock oflag=append conv=notrunc status=none; cmp full direct
ln full hard 2>/dev/null || cp full hard; cmp full hard; rm hard
mv tree renamed; mv renamed/empty .; rmdir empty; rm -r renamed/'folder 1'; ls -R
"""

EDITING: Final = """
printf 'alpha beta\\nbeta gamma\\n' > text
sed -i 's/beta/BETA/' text; cat text
vim -u NONE -es -c '%s/alpha/omega/' -c 'wq' text; cat text
perl -pi.bak -e 's/gamma/delta/' text; cat text text.bak
cp -a "$IN/tree" tree; printf 'needle in the hay\\n' >> 'tree/folder 3/ünder/file-3'
grep -rla 'needle' .; rg --sort path -la 'needle' .; rg --files --hidden --sort path . | wc -l
patch -s text <<'END'
--- text
+++ text
@@ -1,2 +1,2 @@
-omega BETA
+patched
 BETA delta
END
cat text; ls; sort -o text text; cat text; truncate -s 3 text; cat text
find . -type f -newer "$IN/wheels" | LC_ALL=C sort; find tree -type f -links 1 | wc -l
"""

BUILDING: Final = """
cp -r "$IN/c/." .; make -s; ./program; make -q && echo 'up to date'
touch -d '1 hour' answer.h; make -n | wc -l
sed -i s/42/43/ answer.c; touch -d '2 hours' answer.c; make -s 2>/dev/null; ./program; make -s clean; ls
"""

PIP: Final = """
"$PYTHON" -m venv --without-pip venv
pip() { "$PYTHON" -m pip --python venv/bin/python --disable-pip-version-check "$@"; }
pip install -q --no-cache-dir --no-index --find-links "$IN/wheels" greeting
venv/bin/greet; test -x venv/bin/greet; pip list --format freeze
pip uninstall -q -y greeting; find venv -name 'greet*'
pip install -q --no-cache-dir --no-index --find-links "$IN/wheels" greeting; venv/bin/greet
"""

NPM: Final = """
export npm_config_cache="$PWD/cache" npm_config_update_notifier=false
echo '{"name": "project", "version": "1.0.0"}' > package.json
npm install --offline --silent --no-audit --no-fund "$IN/package.tgz"
node_modules/.bin/greet; readlink node_modules/.bin/greet; npm ls --offline | tail -n +2
npm ci --offline --silent --no-audit --no-fund; node_modules/.bin/greet; rm -r cache
"""

PYTEST: Final = """
printf 'def test_good():\\n    assert True\\ndef test_bad():\\n    assert False\\n' > test_it.py
run() { "$PYTHON" -m pytest -q -p no:xdist -p no:trio --rootdir . -c /dev/null "$@" 2>&1 || true; }
run | tail -1 | cut -d' ' -f1-4; run --lf | tail -1 | cut -d' ' -f1-2; cat .pytest_cache/v/cache/lastfailed
sed -i 's/assert False/assert True/' test_it.py; run --lf | tail -1 | cut -d' ' -f1-2; ls -A
rm -r __pycache__
"""

DATABASES: Final = """
"$PYTHON" - <<'END'
import sqlite3, subprocess, sys
base = sqlite3.connect("rollback.db", isolation_level=None)
# One lock for all: each that is given back is published to the workspace first.
base.executescript("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF;"
                   "CREATE TABLE t (n INTEGER)")
for number in range(1000):
    base.execute("BEGIN"); base.execute("INSERT INTO t VALUES (?)", (number,)); base.execute("COMMIT")
print(base.execute("SELECT count(*), sum(n) FROM t").fetchone())
print(base.execute("PRAGMA integrity_check").fetchone())
base.close()
# A write-ahead log has its index in a shared mapping, and pages are read by another.
base = sqlite3.connect("mapped.db", isolation_level=None)
base.executescript("PRAGMA journal_mode = WAL; PRAGMA mmap_size = 1000000; PRAGMA synchronous = OFF;"
                   "CREATE TABLE t (n INTEGER, filler TEXT)")
program = '''
import sqlite3
base = sqlite3.connect("mapped.db", timeout=60, isolation_level=None)
base.executescript("PRAGMA mmap_size = 1000000; PRAGMA synchronous = OFF")
for number in range(10):
    base.execute("INSERT INTO t VALUES (?, ?)", (number, "x" * 500))
    base.execute("SELECT sum(n) FROM t").fetchone()
'''
running = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
print([one.wait() for one in running])
print(base.execute("SELECT count(*), sum(n) FROM t").fetchone())
print(base.execute("PRAGMA integrity_check").fetchone())
print(base.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())
base.close()
END
rm mapped.db; ls
"""

MAPPED_DATABASE: Final = """
"$PYTHON" - <<'END'
import subprocess, sys
import lmdb
program = '''
import sys
import lmdb
base = lmdb.open("base", map_size=1 << 24, writemap=sys.argv[1] == "mapped")
for number in range(100):
    with base.begin(write=True) as writing:
        writing.put(f"{sys.argv[2]} {number}".encode(), b"value" * number)
        total = int(writing.get(b"total", b"0")) + 1
        writing.put(b"total", str(total).encode())
base.close()
'''
for how in ("mapped", "written"):
    running = [subprocess.Popen([sys.executable, "-c", program, how, how + name]) for name in "ab"]
    print(how, [one.wait() for one in running])
base = lmdb.open("base", map_size=1 << 24, readonly=True)
with base.begin() as reading:
    print(reading.stat()["entries"], reading.get(b"total"), len(reading.get(b"mappeda 99")))
    print(sum(len(key) + len(value) for key, value in reading.cursor()))
base.close()
END
# Its data file has the pages that each turn happened to take, the index of readers has process numbers.
ls base; rm -r base
"""

TAILING: Final = """
"$PYTHON" - <<'END'
import os, subprocess, sys
program = '''
import sys
for number in range(300):
    with open("log", "a") as log:
        log.write(f"{sys.argv[1]} {number}\\\\n")
'''
open("log", "w").close()
tail = subprocess.Popen(
    ["tail", "-n", "+1", "-f", "--sleep-interval=0.02", "log"], stdout=subprocess.PIPE, text=True
)
writers = [subprocess.Popen([sys.executable, "-c", program, name]) for name in "ab"]
lines = [tail.stdout.readline() for _ in range(600)]
tail.kill(); tail.communicate()
print([one.wait() for one in writers], os.stat("log").st_size)
for name in "ab":
    print([line for line in lines if line.startswith(name)] == [f"{name} {n}\\n" for n in range(300)])
END
LC_ALL=C sort -o log log; sha256sum log
"""

CARGO: Final = """
export CARGO_TARGET_DIR="$PWD/greeting/target" CARGO_TERM_COLOR=never CARGO_NET_OFFLINE=true
cargo new -q --vcs none greeting; cd greeting
cargo build -q 2>&1 | grep -v -e 'Hard linking files' -e 'hard linking' -e '^ *= note' -e '^$' || true
target/debug/greeting
touch before; cargo build -q
# Not the program itself: without hard links it is copied from there at each build.
test -z "$(find target/debug/deps -type f -newer before)" && echo 'nothing was built again'
printf 'fn main() { println!("edited"); }\\n#[test] fn good() { assert_eq!(1, 1); }\\n' > src/main.rs
cargo build -q 2>/dev/null; target/debug/greeting
cargo test -q 2>/dev/null | grep -c 'test result: ok. 1 passed'; cargo clean -q; ls -A
"""

BUILD_CACHE: Final = """
"$PYTHON" "$IN/build_cache.py" > said; cat said
echo edited > src/main; "$PYTHON" "$IN/build_cache.py"; "$PYTHON" "$IN/build_cache.py"
cat target/debug/program target/release/program; ls target/debug target/debug/incremental
"""

SAFE_WRITES: Final = """
"$PYTHON" - <<'END'
import json, os, tempfile
def edit(path, change):
    before = os.stat(path)
    with open(path) as file: text = file.read()
    assert os.stat(path) == before, "moved since it was read"
    with open(path, "w") as file: file.write(change(text))
    with open(path) as file: assert file.read() == change(text)
def replace(path, change):
    with open(path) as file: text = file.read()
    descriptor, name = tempfile.mkstemp(dir=".")
    with os.fdopen(descriptor, "w") as file: file.write(change(text)); file.flush(); os.fsync(file.fileno())
    os.chmod(name, os.stat(path).st_mode); os.replace(name, path)
    with open(path) as file: assert file.read() == change(text)
open("state", "w").write("0")
for number in range(40):
    (edit if number % 2 else replace)("state", lambda text: str(int(text) + 1))
print(open("state").read(), os.listdir())
END
"""

SCRIPTS: Final = {
    "git": GIT,
    "tar": TAR,
    "rsync": RSYNC,
    "copies": COPIES,
    "editing": EDITING,
    "building": BUILDING,
    "pip": PIP,
    "npm": NPM,
    "pytest": PYTEST,
    "cargo": CARGO,
    "build cache": BUILD_CACHE,
    "databases": DATABASES,
    "mapped database": MAPPED_DATABASE,
    "tailing": TAILING,
    "safe writes": SAFE_WRITES,
}

NEEDS: Final = {
    "rsync": ("rsync",),
    "npm": ("npm",),
    "git": ("git",),
    "building": ("make", "gcc"),
    "editing": ("vim", "rg", "perl", "patch"),
    "cargo": ("cargo",),
}
"""What may be absent: then the test says so. `scripts/test` installs all but cargo, whose way with files is
that of `build cache`."""
