# Steps with names, so that a failure says which one it was. Sourced by the scripts.

current_step="start"

step() {
    current_step=$1
    printf '== %s\n' "$1"
}

say() {
    printf '%s\n' "$*"
}

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    trap - EXIT
    exit 1
}

report_failure() {
    local code=$?
    if [ "$code" -ne 0 ]; then
        printf '%s: FAILED in step: %s (exit code %d)\n' "$(basename "$0")" "$current_step" "$code" >&2
    fi
}
trap report_failure EXIT
