# Trees of Debian releases, with what they need to boot and to install from this machine's own mirrors. Sourced by
# scripts/test-hosts; needs steps.sh. Where packages come from is read from this machine's configuration when it runs.

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
boot_packages=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,procps,ca-certificates

# What nobody reads in a tree that is thrown away, and no waiting for its disk: both stay in the tree, for what is installed there later.
dpkg_settings=(
    --dpkgopt=force-unsafe-io
    --dpkgopt='path-exclude=/usr/share/doc/*'
    --dpkgopt='path-exclude=/usr/share/locale/*'
    --dpkgopt='path-exclude=/usr/share/man/*'
)

# One line of sources.list for each archive this machine uses, for another release.
release_sources() {
    local release=$1 own
    own=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
    apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' | sort -u \
        | awk -v own="$own" -v release="$release" -v keyring="$keyring" \
            '$2 ~ "^" own { sub("^" own, release, $2); printf "deb [signed-by=%s] %s %s main\n", keyring, $1, $2 }'
}

# A line about the first archive of these releases that does not answer; nothing where all do.
silent_archive() {
    local release site suite got
    apt-get update -qq  # apt tells what it has indexes of
    got=$(mktemp -d)
    for release in "$@"; do
        [ -n "$(release_sources "$release")" ] || { printf 'none is known for %s\n' "$release"; break; }
        while read -r _ _ site suite _; do
            /usr/lib/apt/apt-helper download-file "$site/dists/$suite/InRelease" "$got/$suite" >/dev/null 2>&1 && continue
            printf '%s at %s does not answer\n' "$suite" "$site"
            break 2
        done < <(release_sources "$release")
    done
    rm -r "$got"
}

# What this machine tells apt about reaching its mirrors.
apt_settings() {
    apt-config dump | grep -E '^Acquire::(Check-|http::|https::|Retries)' || true
}

# A tree counts for the mirrors and the recipe that it was made by.
tree_stamp() {
    cat scripts/lib/host_trees.sh "$1.list" "$1.apt.conf" | sha256sum | cut -d' ' -f1
}

# Both at once: each waits for its downloads most of the time.
ensure_trees() {
    local trees=$1 release pids=() failed=()
    shift
    for release in "$@"; do
        ensure_tree "$release" "$trees/$release" > "$trees/$release.log" 2>&1 &
        pids+=("$release:$!")
    done
    for release in "${pids[@]}"; do
        wait "${release#*:}" || failed+=("${release%%:*}")
    done
    for release in "${failed[@]}"; do
        tail -n 30 "$trees/$release.log" >&2
    done
    [ "${#failed[@]}" -eq 0 ] || fail "no tree of ${failed[*]}; the end of the log is above"
}

ensure_tree() {
    trap - EXIT
    local release=$1 tree=$2
    release_sources "$release" > "$tree.list"
    apt_settings > "$tree.apt.conf"
    if [ "$(cat "$tree/.complete" 2>/dev/null)" = "$(tree_stamp "$tree")" ]; then
        return 0
    fi
    rm -rf --one-file-system "$tree"
    mkdir -p "$tree"
    mmdebstrap --mode=root --variant=minbase --include="$boot_packages" --aptopt="$tree.apt.conf" "${dpkg_settings[@]}" \
        "$release" "$tree" "$tree.list"
    cp "$tree.apt.conf" "$tree/etc/apt/apt.conf.d/90host"
    copy_pip_settings "$tree"
    tree_stamp "$tree" > "$tree/.complete"
}

# The files by which pip on this machine finds and trusts mirrors. What they name is bound into the tree where it is used.
copy_pip_settings() {
    local tree=$1 file
    for file in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf /etc/xdg/pip/* "$HOME"/.config/pip/pip.conf; do
        if [ -f "$file" ]; then
            mkdir -p "$tree$(dirname "$file")"
            cp "$file" "$tree$file"
        fi
    done
}
