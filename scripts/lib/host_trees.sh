# Trees of Debian releases, with what they need to boot and to install from this machine's own mirrors. Sourced by
# scripts/test-hosts; needs steps.sh. Where packages come from is read from this machine's configuration when it runs.

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
boot_packages=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,procps,ca-certificates

# One line of sources.list for each archive this machine uses, for another release.
release_sources() {
    local release=$1 own
    own=$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")
    apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' | sort -u \
        | awk -v own="$own" -v release="$release" -v keyring="$keyring" \
            '$2 ~ "^" own { sub("^" own, release, $2); printf "deb [signed-by=%s] %s %s main\n", keyring, $1, $2 }'
}

# What this machine tells apt about reaching its mirrors.
apt_settings() {
    apt-config dump | grep -E '^Acquire::(Check-|http::|https::|Retries)' || true
}

ensure_tree() {
    local release=$1 tree=$2
    if [ -e "$tree/.complete" ]; then
        return 0
    fi
    rm -rf "$tree"
    mkdir -p "$tree"
    apt_settings > "$tree.apt.conf"
    release_sources "$release" > "$tree.list"
    mmdebstrap --quiet --mode=root --variant=minbase --include="$boot_packages" --aptopt="$tree.apt.conf" \
        "$release" "$tree" "$tree.list"
    cp "$tree.apt.conf" "$tree/etc/apt/apt.conf.d/90host"
    copy_pip_settings "$tree"
    touch "$tree/.complete"
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
