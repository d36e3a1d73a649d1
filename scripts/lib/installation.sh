# Where an installation puts what, and how it goes again. Sourced by scripts/install; needs environment.sh.

if [ "$(id -u)" -eq 0 ]; then
    prefix=/opt/mountfs
    commands=/usr/local/bin
    helpers=/usr/sbin
    units=/etc/systemd/system
    user_units=/etc/systemd/user
    tmpfiles=/etc/tmpfiles.d/mountfs.conf
else
    prefix=${XDG_DATA_HOME:-$HOME/.local/share}/mountfs/program
    commands=$HOME/.local/bin
    helpers=
    units=
    user_units=${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user
    tmpfiles=
fi

install_all() {
    step "system packages"
    ensure_system_packages
    step "program in $prefix"
    mkdir -p "$prefix"
    venv=$prefix/.venv
    ensure_venv
    ensure_requirements requirements/runtime.txt
    ensure_installed
    step "commands in $commands"
    mkdir -p "$commands"
    ln -sfn "$prefix/.venv/bin/mountfs" "$commands/mountfs"
    install_helpers
    step "units"
    install_unit systemd/user/mountfs@.service "$user_units"
    if [ -n "$units" ]; then
        install_unit systemd/mountfs@.service "$units"
        install -D -m 644 systemd/tmpfiles.conf "$tmpfiles"
        install -d -m 755 /etc/mountfs
        install -d -m 711 /var/cache/mountfs
    fi
    reload_units
    next_steps
}

install_helpers() {
    [ -n "$helpers" ] || return 0
    local name
    for name in mount umount; do
        ln -sfn "$prefix/.venv/bin/$name.fuse.mountfs" "$helpers/$name.fuse.mountfs"
    done
    ln -sfn "$prefix/.venv/bin/mount.fuse.mountfs" "$helpers/mount.mountfs"
}

# The units name the program where this installation has it.
install_unit() {
    mkdir -p "$2"
    sed -e "s|/opt/mountfs/|$prefix/|g" -e "s|^ExecStart=mountfs |ExecStart=$prefix/.venv/bin/mountfs |" \
        "$1" > "$2/mountfs@.service"
}

# With it go the links that enabled its instances.
remove_unit() {
    rm -f "$1/mountfs@.service"
    if [ -d "$1" ]; then
        find "$1" -type l -path '*.wants/mountfs@*.service' -delete
        find "$1" -type d -name '*.wants' -empty -delete
    fi
}

reload_units() {
    if [ "$(id -u)" -eq 0 ]; then
        if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
    elif [ -S "${XDG_RUNTIME_DIR:-/nonexistent}/systemd/private" ]; then
        systemctl --user daemon-reload
    fi
}

next_steps() {
    local folder=${XDG_CONFIG_HOME:-$HOME/.config}/mountfs start="systemctl --user enable --now mountfs@NAME"
    if [ "$(id -u)" -eq 0 ]; then
        folder=/etc/mountfs start="systemctl enable --now mountfs@NAME"
    fi
    cat <<TEXT

mountfs $("$prefix/.venv/bin/mountfs" --version | cut -d' ' -f2) is installed. Next: docs/hosts.md
  configure   $folder/NAME.toml, then: mountfs config check
  start       mountfs mount NAME, or with systemd: $start
TEXT
    case ":$PATH:" in
        *":$commands:"*) ;;
        *) say "  PATH        $commands is not in it yet; a new login adds it on Debian, else: export PATH=\"$commands:\$PATH\"" ;;
    esac
}

remove_all() {
    if "$prefix/.venv/bin/mountfs" status --json 2>/dev/null | grep -q '"answers": true'; then
        fail "mounts are still served; end them first: mountfs status, then mountfs umount"
    fi
    step "units, commands and helpers"
    rm -f "$commands/mountfs"
    remove_unit "$user_units"
    if [ -n "$units" ]; then
        remove_unit "$units"
        rm -f "$tmpfiles"
    fi
    if [ -n "$helpers" ]; then
        rm -f "$helpers/mount.fuse.mountfs" "$helpers/umount.fuse.mountfs" "$helpers/mount.mountfs"
    fi
    reload_units
    step "program in $prefix"
    rm -rf "$prefix"
    if [ "$(id -u)" -ne 0 ]; then
        rmdir --ignore-fail-on-non-empty "$(dirname "$prefix")"
    fi
    say "removed; configuration and caches are left"
}
