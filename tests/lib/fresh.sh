#!/bin/bash
# The README's commands on a Debian 12 as debootstrap makes it (minbase), for scripts/test --fresh.
# The new root is a mount point of its own, entered by pivot_root: in a plain chroot no OCI runtime
# starts a container. It shares the machine's network and cgroups, nothing else. Goes away again,
# also after a failure.
#
#     tests/lib/fresh.sh [TIER...]
set -eu
cd "$(dirname "$0")/../.."
. scripts/lib.sh

if [ "${1:-}" = --inside ]; then # in namespaces of its own, still in the old root
    root=$2
    shift 2
    mount --make-rprivate /
    mount --bind "$root" "$root"
    cd "$root"
    mount -t proc proc proc
    mount -t sysfs sysfs sys
    mount --rbind /sys/fs/cgroup sys/fs/cgroup
    mount --rbind /dev dev
    mount -t tmpfs -o mode=0755 tmpfs run
    mount -t tmpfs tmpfs tmp
    mkdir -p old
    pivot_root . old
    umount -l /old
    cd /coracle
    export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
    tiers=("$@") status=0 ran=""
    for command in $(sed -n 's/^\(scripts\/[a-z]*\)  *# .*/\1/p' README.md); do
        case $command in
        scripts/bench) continue ;; # a clone that passes its tests needs no measuring to be one
        scripts/test) set -- "$command" "${tiers[@]}" ;;
        *) set -- "$command" ;;
        esac
        say "fresh: $*"
        "$@" </dev/null || { status=1; echo "fresh: $* failed" >&2; break; }
        ran="$ran $command"
    done
    case $ran in
    *scripts/up*scripts/test*) ;;
    *) [ $status = 1 ] || die "fresh: README.md does not name scripts/up and scripts/test as it did" ;;
    esac
    scripts/down || status=1
    exit $status
fi

need_root
command -v debootstrap >/dev/null || die "debootstrap is not here: apt-get install debootstrap"
for port in 6443 10250; do
    ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || die "something listens on port $port: stop it first"
done
root=$(mktemp -d /var/tmp/coracle-fresh-XXXXXX)
trap 'rm -rf --one-file-system "$root"' EXIT
say "a fresh Debian 12 in $root"
debootstrap --variant=minbase bookworm "$root" "${CORACLE_MIRROR:-http://deb.debian.org/debian}" >"$root.log" 2>&1 ||
    { tail -n 20 "$root.log"; die "debootstrap failed"; }
rm -f "$root.log"
# How this machine reaches the package servers.
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cp -L /etc/hosts "$root/etc/hosts"
for f in /etc/apt/apt.conf.d/*proxy* /etc/apt/apt.conf.d/*registry*; do [ ! -f "$f" ] || cp "$f" "$root/etc/apt/apt.conf.d/"; done
if [ -n "$(ls /usr/local/share/ca-certificates 2>/dev/null)" ]; then # CAs that this machine trusts besides the usual ones
    mkdir -p "$root/usr/local/share/ca-certificates"
    cp -rL /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/"
    export NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
fi
if command -v npm >/dev/null; then
    NPM_CONFIG_REGISTRY=$(npm config get registry)
    export NPM_CONFIG_REGISTRY
fi
# The files of this clone as they are, without what was built.
mkdir "$root/coracle"
git ls-files -z --cached --others --exclude-standard | tar --null -T - --ignore-failed-read -cf - | tar -xf - -C "$root/coracle"
unshare --mount --pid --fork --kill-child bash tests/lib/fresh.sh --inside "$root" "$@"
