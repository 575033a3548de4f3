# For bats: a coracle server of its own for each file, on loopback ports of its own, in a directory of its own; gone
# again in teardown_file, also when a test failed.
#
#   setup_file()    { server_start --without node,network; }
#   teardown_file() { server_stop; }
#
# K is a kubectl that talks to it. Nothing sleeps to wait: `eventually` tries until a limit.
# shellcheck shell=bash
bats_require_minimum_version 1.5.0 # `run !`

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CORACLE=${CORACLE:-$PROJECT/build/coracle}

# Directories that may hold released kubectls; scripts/test puts one into the first.
kubectl_paths() {
    local found
    echo "${CORACLE_CACHE:-/var/cache/coracle}/bin"
    found=$(command -v kubectl || true)
    [ -z "$found" ] || dirname "$(readlink -f "$found")"
    echo /usr/local/bin
}

# kubectls: path of each released kubectl from 1.27 on that is on this machine, the oldest first, one
# of each minor version. A kubectl without a version in its name does not count: it may be any.
kubectls() {
    local dir f
    for dir in $(kubectl_paths); do
        for f in "$dir"/kubectl.1.[0-9]*; do [ -x "$f" ] && echo "${f##*.} $f"; done
    done | sort -sn -k1,1 | awk '$1 >= 27 && !seen[$1]++ { print $2 }'
}

# kubectl_since MINOR: the newest of them, which must be 1.MINOR or newer. There is always one:
# scripts/test has installed it, so that nothing is skipped for want of it.
kubectl_since() {
    local k
    k=$(kubectls | tail -n 1)
    if [ -z "$k" ] || [ "${k##*.}" -lt "$1" ]; then
        echo "no released kubectl from 1.$1 on: run scripts/test, which installs one" >&2
        return 1
    fi
    echo "$k"
}

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 20000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

# eventually SECONDS COMMAND...: until it succeeds; its last output is shown when it does not.
eventually() {
    local limit=$1 deadline=$((SECONDS + $1)) out
    shift
    while :; do
        if out=$("$@" 2>&1); then return 0; fi
        if [ $SECONDS -ge $deadline ]; then
            echo "not within $limit s: $*"
            echo "$out"
            return 1
        fi
        read -r -t 0.1 <> <(:) || true
    done
}

# Commands run inside the server's network namespace when a test has one (node.bash sets IN_NS).
IN_NS=()

server_start() {
    export DIR PORT KUBECONFIG KUBECTL
    DIR=$(mktemp -d /tmp/coracle-test-XXXXXX)
    PORT=$(free_port)
    [ -n "${KUBECTL:-}" ] || KUBECTL=$(kubectl_since 27)
    server_run "$@"
    KUBECONFIG=$DIR/data/admin.kubeconfig
}

# Starts (again) on the same directory and port; waits until /readyz says ok.
server_run() {
    "${IN_NS[@]}" "$CORACLE" server --data-dir "$DIR/data" --state-dir "$DIR/state" --log-dir "$DIR/logs" --trace-port "${TRACE_PORT:-0}" \
        --port "$PORT" "$@" >>"$DIR/server.log" 2>&1 3>&- 4>&- &
    echo $! >"$DIR/pid"
    if ! eventually 20 "${IN_NS[@]}" curl -fsk "https://127.0.0.1:$PORT/readyz"; then
        tail -n 30 "$DIR/server.log"
        return 1
    fi
}

server_kill() { # SIGNAL
    local pid
    pid=$(cat "$DIR/pid")
    kill "-$1" "$pid" 2>/dev/null || true
    eventually 20 bash -c "! kill -0 $pid 2>/dev/null"
}

server_stop() {
    [ -n "${DIR:-}" ] || return 0
    server_kill TERM || server_kill KILL
    [ -z "${KEEP:-}" ] && rm -rf "$DIR"
    return 0
}

K() { "${IN_NS[@]}" "$KUBECTL" --cache-dir "$DIR/cache" "$@"; }

# each_kubectl FUNCTION...: runs it with every released kubectl; the last "with" line is the one that failed.
each_kubectl() {
    local k list
    list=$(kubectls)
    [ -n "$list" ] || kubectl_since 27
    for k in $list; do
        KUBECTL=$k
        # Not in a condition: errexit must hold inside the function.
        echo "with $(basename "$k")"
        "$@"
    done
}

minor() { basename "$KUBECTL" | sed 's/kubectl\.1\.//'; }

# contains TEXT PATTERN: as grep -E, showing the text when it does not.
contains() {
    printf '%s\n' "$1" | grep -qE -- "$2" || { printf 'expected /%s/ in:\n%s\n' "$2" "$1"; return 1; }
}

# some_kubectls FUNCTION...: with the oldest, one of the middle and the newest; with all if CORACLE_TEST_FULL=1.
some_kubectls() {
    local k list n
    mapfile -t list < <(kubectls)
    n=${#list[@]}
    [ "$n" -gt 0 ] || kubectl_since 27
    [ "${CORACLE_TEST_FULL:-}" = 1 ] || list=("${list[0]}" "${list[n / 2]}" "${list[n - 1]}")
    for k in $(printf '%s\n' "${list[@]}" | sort -Vu); do
        KUBECTL=$k
        echo "with $(basename "$k")"
        "$@"
    done
}

# refused PATTERN COMMAND...: it fails, and what it says matches.
refused() {
    local pattern=$1 out
    shift
    if out=$("$@" 2>&1); then
        printf 'not refused: %s\n%s\n' "$*" "$out"
        return 1
    fi
    contains "$out" "$pattern"
}
