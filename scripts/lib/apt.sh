# Packages without touching the system: an apt of our own below build/apt, so
# that neither root nor a change of the machine's configuration is needed.
# Sourced after common.sh.
#
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
# shellcheck disable=SC2154      # common.sh sets build

# On every machine, QEMU 10.0 is that of Debian 13, and the guest a Debian 12,
# whose kernel boots in half the time when it is emulated.
qemu_suite=trixie
guest_suite=bookworm

apt_dir=$build/apt

# The mirror that this machine is set up to use, in whichever format.
debian_mirror()
{
    local uri

    # shellcheck disable=SC2016      # they are apt's own variables
    uri=$(apt-get indextargets --no-release-info \
                  --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' \
                  'Created-By: Packages' |
          awk '$2 ~ /^(bookworm|trixie|oldstable|stable)$/ && $3 == "main" &&
               !seen++ { print $1 }')
    [ -n "$uri" ] || die "apt's sources name no mirror of Debian $(debian_release)"
    echo "$uri"
}

apt_sources()
{
    local mirror trust='signed-by=/usr/share/keyrings/debian-archive-keyring.gpg'

    mirror=$(debian_mirror)
    echo "deb-src [$trust] $mirror $qemu_suite main"
    echo "deb [$trust] $mirror $guest_suite main"
    if [ "$(debian_release)" = 12 ]; then
        echo "deb [$trust] $mirror bookworm-backports main"
    fi
}

apt_config()
{
    cat <<EOF
Dir::State "$apt_dir/state";
Dir::State::status "$apt_dir/state/status";
Dir::Cache "$apt_dir/cache";
Dir::Etc::sourcelist "$apt_dir/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::Languages "none";
APT::Update::Error-Mode "any";
EOF

    # apt's own user may not write into a directory of root's.
    if [ "$(id -u)" -eq 0 ]; then
        echo 'APT::Sandbox::User "root";'
    fi
}

private_apt()
{
    local tool=$1
    shift
    env APT_CONFIG="$apt_dir/apt.conf" "apt-$tool" -q "$@"
}

apt_update()
{
    logged_download apt-update \
                    "fetch lists of packages from $(debian_mirror)" \
                    private_apt get update
    touch "$apt_dir/updated"
}

# put FILE: write what comes in to FILE, unless it is there already.
put()
{
    local text
    text=$(cat)
    [ "$text" = "$(cat "$1" 2>/dev/null)" ] || echo "$text" >"$1"
}

# Old lists may name files that the mirror no longer has.
apt_update_if_old()
{
    local now

    mkdir -p "$apt_dir"/{state/lists/partial,cache/archives/partial}
    touch "$apt_dir/state/status"
    apt_sources | put "$apt_dir/sources.list"
    apt_config | put "$apt_dir/apt.conf"

    now=$(date +%s)
    [ "$apt_dir/updated" -nt "$apt_dir/sources.list" ] &&
        [ $((now - $(stat -c %Y "$apt_dir/updated"))) -lt 86400 ] &&
        return
    apt_update
}

apt_get_in()
(
    cd "$1" && shift && private_apt get "$@"
)

# apt_fetch DIR NAME WHAT COMMAND...: run an apt-get command that downloads to
# DIR.
apt_fetch()
{
    local dir=$1 name=$2 what=$3
    shift 3

    apt_update_if_old
    mkdir -p "$dir"
    logged_download "$name" "fetch $what" apt_get_in "$dir" "$@"
}
