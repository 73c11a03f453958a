# Packages without touching the system: an apt of our own below build/apt, so
# that neither root nor a change of the machine's configuration is needed.
# Sourced after common.sh.
#
# SPDX-License-Identifier: GPL-2.0-or-later

# QEMU 10.0 and the guest's packages are those of Debian 13 on every machine.
suite=trixie

apt_dir=$build/apt

# The mirror that this machine is set up to use, in whichever format.
debian_mirror()
{
    local uri

    uri=$(apt-get indextargets --no-release-info \
                  --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' \
                  'Created-By: Packages' |
          awk '$2 ~ /^(bookworm|trixie|oldstable|stable)$/ && $3 == "main" {
                   print $1
                   exit
               }')
    echo "$uri"
}

apt_sources()
{
    local mirror trust='signed-by=/usr/share/keyrings/debian-archive-keyring.gpg'

    mirror=$(debian_mirror)
    echo "deb-src [$trust] $mirror $suite main"
    echo "deb [$trust] $mirror $suite main"
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

private_apt_get()
{
    env APT_CONFIG="$apt_dir/apt.conf" apt-get -q "$@"
}

apt_update()
{
    mkdir -p "$apt_dir"/{state/lists/partial,cache/archives/partial}
    touch "$apt_dir/state/status"
    apt_sources >"$apt_dir/sources.list"
    apt_config >"$apt_dir/apt.conf"
    run_logged apt-update "fetch Debian's lists of packages" \
               private_apt_get update ||
        die "cannot fetch Debian's lists of packages from $(debian_mirror):" \
            "is there a network? (log: $log/apt-update.log)"
    touch "$apt_dir/updated"
}

apt_get_in()
{
    (cd "$1" && shift && private_apt_get "$@")
}

# apt_fetch DIR NAME WHAT COMMAND...: run an apt-get command that downloads to
# DIR.  Old lists may name files that the mirror no longer has.
apt_fetch()
{
    local dir=$1 name=$2 what=$3
    shift 3

    if [ -z "$(find "$apt_dir/updated" -mtime -1 2>/dev/null)" ]; then
        apt_update
    fi
    mkdir -p "$dir"
    run_logged "$name" "fetch $what" apt_get_in "$dir" "$@" ||
        die "cannot fetch $what from $(debian_mirror):" \
            "is there a network? (log: $log/$name.log)"
}
