# What the three commands share. POSIX sh; sourced with the project's root as the working directory.
# shellcheck shell=sh

# Debian packages by purpose; docs/dependencies.md says why each.
PACKAGES_BUILD="gcc libc6-dev cmake ninja-build ccache pkg-config libssl-dev libnghttp2-dev libyaml-dev liblmdb-dev libmnl-dev zlib1g-dev libzstd-dev"
PACKAGES_RUN="crun nftables iproute2 curl ca-certificates tzdata"
PACKAGES_EXAMPLE="busybox-static"
PACKAGES_TEST="clang-format libcmocka-dev bats clang libclang-rt-14-dev runc containernetworking-plugins jq knot-dnsutils procps socat openssl docker-registry skopeo nghttp2-client"
PACKAGES_BENCH="etcd-server etcd-client nginx-light wrk"

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

need_root() { [ "$(id -u)" = 0 ] || die "run this as root (containers, networks and packages need it)"; }

# install PACKAGE...: those that are missing, with one apt-get run.
install_packages() {
    missing=""
    for p in "$@"; do
        dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q '^install ok installed' || missing="$missing $p"
    done
    [ -z "$missing" ] && return 0
    say "installing Debian packages:$missing"
    # shellcheck disable=SC2086
    { apt-get update -qq || true; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null; } ||
        die "apt-get could not install:$missing"
}

# build DIR TARGET [cmake flags...]
build() {
    dir=$1 target=$2
    shift 2
    [ -f "$dir/build.ninja" ] || cmake -S . -B "$dir" -G Ninja "$@" >/dev/null || die "cmake failed in $dir"
    # shellcheck disable=SC2086
    ninja -C "$dir" $target
}

# A kubectl: the one on the PATH (or $KUBECTL), else Debian's.
find_kubectl() {
    KUBECTL=${KUBECTL:-$(command -v kubectl || true)}
    if [ -z "$KUBECTL" ]; then
        install_packages kubernetes-client
        KUBECTL=$(command -v kubectl)
    fi
}
