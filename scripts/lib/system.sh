# System packages and the choice of a Python. Sourced by the scripts; needs steps.sh.

packages=(fuse3 libfuse3-dev pkg-config gcc libc6-dev python3-venv python3-dev)

# What the test suite runs on mounts, beyond what every Debian has, by the program that shows whether it is there.
declare -A programs_of_tests=(
    [bash]=bash [chromium]=chromium [git]=git [groff]=groff [make]=make [npm]=npm [patch]=patch [perl]=perl [rg]=ripgrep
    [rsync]=rsync [systemd-analyze]=systemd [vim]=vim
)

has_package() {
    case $1 in
        fuse3) command -v fusermount3 ;;
        libfuse3-dev) command -v pkg-config && pkg-config --exists fuse3 ;;
        pkg-config) command -v pkg-config ;;
        gcc) command -v gcc ;;
        libc6-dev) echo '#include <stdio.h>' | gcc -E - ;;
        python3-venv) local python && python=$(find_python) && "$python" -c 'import ensurepip, venv' ;;
        python3-dev) local python && python=$(find_python) && has_headers "$python" ;;
    esac >/dev/null 2>&1
}

has_headers() {
    "$1" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# The system's Python goes first: its headers come as a package. Others (built by hand, shims) bring their own.
find_python() {
    local candidate path
    for candidate in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        path=$(command -v "$candidate") || continue
        if is_new_enough "$path"; then
            printf '%s\n' "$path"
            return 0
        fi
    done
    return 1
}

ensure_system_packages() {
    local missing=() package
    for package in "${packages[@]}"; do
        has_package "$package" || missing+=("$package")
    done
    if [ "${#missing[@]}" -eq 0 ]; then
        return 0
    fi
    install_packages "${missing[@]}"
    for package in "${missing[@]}"; do
        has_package "$package" || fail "$package is still missing after its installation (Python 3.11 or newer is needed)"
    done
}

# Programs that tests run; without one of them its tests are skipped, and say so.
ensure_programs_of_tests() {
    local missing=() program
    for program in "${!programs_of_tests[@]}"; do
        command -v "$program" >/dev/null || missing+=("${programs_of_tests[$program]}")
    done
    [ "${#missing[@]}" -eq 0 ] && return 0
    (install_packages "${missing[@]}") || say "NOT TESTED, as these are missing: ${missing[*]}"
}

install_packages() {
    local by_hand="apt-get update && apt-get install -y $*"
    command -v apt-get >/dev/null || fail "missing on this system: $*; install them (these are Debian's names) and run this again"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null || { ! sudo -n true 2>/dev/null && [ ! -t 0 ]; }; then
            fail "missing: $*; this user may not install them, so as root run: $by_hand"
        fi
        as_root=(sudo)
    fi
    say "installing: $*"
    "${as_root[@]}" apt-get update -qq || fail "apt-get update failed; as root run: $by_hand"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" \
        || fail "installing failed; as root run: $by_hand"
}
