# Tests that fail now and then. Sourced by the scripts that run pytest.

# run_tests FOLDER COMMAND...: runs pytest (the command, which takes more arguments) and returns its code.
# With MOUNTFS_RETRY_FAILED=N up to N tests that failed are tried once more by themselves, one after the other; where all of
# them pass then, they are told as unstable and the code is 0. The folder has pytest's cache then, and what those tests leave:
# pytest empties the one it is given within the time of the first test, and the first try may have filled it for minutes.
run_tests() {
    local folder=$1 cache=$1/cache at_most=${MOUNTFS_RETRY_FAILED:-0} code=0 unstable
    shift
    if [ "$at_most" -eq 0 ]; then
        "$@"
        return
    fi
    "$@" -o "cache_dir=$cache" || code=$?
    unstable=$(grep ': true' "$cache/v/cache/lastfailed" 2>/dev/null) || unstable=
    # 1: tests failed, and nothing else went wrong.
    [ "$code" -eq 1 ] && [ -n "$unstable" ] || return "$code"
    [ "$(wc -l <<<"$unstable")" -le "$at_most" ] || return "$code"
    step "pytest, once more, of what failed"
    "$@" -o "cache_dir=$cache" --basetemp "$folder/again" -n0 --last-failed || return $?
    printf '\n*** UNSTABLE, failed above and passed by themselves; each is a fault: ***\n%s\n' "$unstable" >&2
}
