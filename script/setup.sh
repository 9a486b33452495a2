# Sourced by `server` and `test`: makes .venv and installs what is pinned, once.
#
# prepare STAMP_NAME REQUIREMENTS_FILE… installs the files into .venv. A stamp, written last, says
# what is installed; an interrupted set-up has none and is done again.

# shellcheck shell=bash

fail() {
    printf 'runsite: %s\n' "$*" >&2
    exit 2
}

# Prints the first interpreter that is new enough and can make environments.
find_python() {
    local candidate found="" old=""
    for candidate in "${RUNSITE_PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11 python; do
        [ -n "$candidate" ] || continue
        command -v "$candidate" >/dev/null 2>&1 || continue
        if ! "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            old="$("$candidate" -c 'import sys; print(sys.version.split()[0])' 2>/dev/null || true)"
            continue
        fi
        found="$candidate"
        if "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then
            # The one below, should an environment be active: ours may be about to be removed.
            "$candidate" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))'
            return
        fi
    done
    if [ -n "$found" ]; then
        fail "$found has no venv module. Install it (on Debian and Ubuntu: the package python3-venv) and start again."
    fi
    if [ -n "$old" ]; then
        fail "Python $old is too old; Runsite needs 3.11 or newer. Install one, or name it: RUNSITE_PYTHON=/path/to/python3.11"
    fi
    fail "No Python found; Runsite needs 3.11 or newer with its venv module. Install one, or name it: RUNSITE_PYTHON=/path/to/python3.11"
}

# What an environment was made from: its place, its interpreter, the pinned lists.
_wanted() {
    local file
    printf 'set-up 1\n%s\n' "$root"
    readlink -f "$root/.venv/bin/python" || true
    for file in "$@"; do
        cat "$root/$file"
    done
}

prepare() {
    local stamp="$root/.venv/$1.stamp" python file
    shift
    if [ -f "$stamp" ] && [ -x "$root/.venv/bin/python" ] \
        && [ "$(_wanted "$@")" = "$(<"$stamp")" ]; then
        return
    fi
    python="$(find_python)" || exit 2
    # Two at once would install into each other's environment.
    exec 9<"$root"
    if command -v flock >/dev/null 2>&1; then
        flock 9
    fi
    if [ -f "$stamp" ] && [ "$(_wanted "$@")" = "$(<"$stamp")" ] \
        && "$root/.venv/bin/python" -c '' 2>/dev/null; then
        exec 9<&-
        return
    fi
    rm -f "$stamp"
    # An environment knows its own path and interpreter: one that was moved or whose interpreter
    # has gone is made anew.
    if ! "$root/.venv/bin/python" -m pip --version >/dev/null 2>&1 \
        || ! grep -qF "$root/.venv/bin/python" "$root/.venv/bin/pip" 2>/dev/null; then
        printf 'Making .venv with %s …\n' "$python" >&2
        rm -rf "$root/.venv"
        "$python" -m venv "$root/.venv" \
            || fail "$python cannot make an environment in $root/.venv. Its words are above."
    fi
    printf 'Installing the requirements (once; a minute or two) …\n' >&2
    for file in "$@"; do
        "$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
            --no-deps --requirement "$root/$file" </dev/null >&2 \
            || fail "Installing $file failed; the words of pip are above. Start again: what is there is kept."
    done
    _wanted "$@" >"$stamp.partial"
    mv "$stamp.partial" "$stamp"
    exec 9<&-
}
