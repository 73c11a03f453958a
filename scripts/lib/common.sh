# Shared by the shell scripts of this directory; sourced, never run.
#
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash

set -euo pipefail

# Tools are chosen and their messages parsed in one language.
export LC_ALL=C.UTF-8

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$repo/build
log=$build/log

die()
{
    echo "${0##*/}: $*" >&2
    exit 1
}

# A value that an option cannot do without.
need_value()
{
    [ -n "${2:-}" ] || die "$1 needs a value"
}

say()
{
    echo "==> $*"
}

# run_logged NAME WHAT COMMAND...: run a step with its output in a log of its own,
# and leave its exit status in $step_status.
#
# It returns no status, because bash ignores errors inside a function that is
# called as a condition.
run_logged()
{
    local file=$log/$1.log
    say "$2 (log: ${file#"$PWD"/})"
    shift 2

    mkdir -p "$log"
    set +e
    (
        set -e
        "$@"
    ) >"$file" 2>&1 </dev/null
    step_status=$?
    set -e
}

# The same for a step whose log says why it fails: its end is shown.
logged()
{
    run_logged "$@"
    [ "$step_status" -eq 0 ] && return
    tail -n 20 "$log/$1.log" >&2
    die "could not $2; the whole log is $log/$1.log"
}

# The same for a step that needs the network.
logged_download()
{
    run_logged "$@"
    [ "$step_status" -eq 0 ] ||
        die "cannot $2: is there a network? (log: $log/$1.log)"
}

# Steps that write below build/ run one at a time, so that two terminals (or a
# test and an engineer) do not build the same tree at once.  The lock is held
# until the script that took it ends; the scripts that it calls inherit it.
lock_build()
{
    [ "${VLINK_BUILD_LOCKED:-}" = "$build" ] && return
    mkdir -p "$build"
    exec 9>"$build/.lock"
    if ! flock -n 9; then
        say "wait for another build in $build"
        flock 9
    fi
    export VLINK_BUILD_LOCKED=$build
}

# need_space MEBIBYTES WHAT
need_space()
{
    local free

    mkdir -p "$build"
    free=$(($(df --output=avail -k "$build" | tail -n 1) / 1024))
    [ "$free" -ge "$1" ] ||
        die "$2 needs $1 MiB of free space in $build, which has $free MiB"
}

# Prints 12 or 13 on a Debian release that we know, nothing elsewhere.
debian_release()
{
    (
        . /etc/os-release
        case "${ID:-}:${VERSION_ID:-}" in
        debian:12 | debian:13) echo "$VERSION_ID" ;;
        esac
    ) 2>/dev/null
}

need_debian()
{
    [ -n "$(debian_release)" ] ||
        die "$1 needs Debian 12 or 13"
}
