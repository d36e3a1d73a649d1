# The virtual environment in .venv, and what is installed there. Sourced by the scripts; needs system.sh.
# What was installed from what is remembered in stamps, so that a second run has nothing to do.

venv=.venv

ensure_venv() {
    if is_new_enough "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        return 0
    fi
    local python
    python=$(find_python) || fail "no Python 3.11 or newer"
    "$python" -m venv --clear "$venv"
}

pip_install() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}

hash_of() {
    find "$@" -type f ! -name '*.pyc' ! -name '*.so' -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -d' ' -f1
}

has_stamp() {
    [ "$(cat "$venv/$1.stamp" 2>/dev/null)" = "$2" ]
}

stamp() {
    printf '%s\n' "$2" > "$venv/$1.stamp"
}

ensure_requirements() {
    local name wanted
    name=$(basename "$1" .txt)
    wanted=$(hash_of "$1")
    has_stamp "$name" "$wanted" && return 0
    pip_install --require-hashes -r "$1"
    stamp "$name" "$wanted"
}

# What a build depends on besides the Python sources, which an editable installation reads in place.
build_inputs() {
    find . -maxdepth 1 \( -name pyproject.toml -o -name setup.py \) -print
    find mountfs -name '*.[ch]' -print
}

editable_stamp() {
    local inputs
    mapfile -t inputs < <(build_inputs)
    printf 'editable %s\n' "$(hash_of "${inputs[@]}")"
}

ensure_editable() {
    local wanted
    wanted=$(editable_stamp)
    has_stamp project "$wanted" && return 0
    pip_install --no-deps -e .
    stamp project "$wanted"
}

ensure_installed() {
    local inputs wanted
    has_stamp project "$(editable_stamp)" && return 0
    mapfile -t inputs < <(build_inputs)
    wanted="installed $(hash_of mountfs "${inputs[@]}")"
    has_stamp project "$wanted" && return 0
    rm -rf build  # what an older build left there would be installed, too
    pip_install --no-deps --force-reinstall .
    stamp project "$wanted"
}
