# For bats: a whole cluster with a node, in a network namespace of its own, so that its addresses, rules and links
# touch nothing outside. IN_NS runs a command inside.
#
#   setup_file()    { node_start; }
#   teardown_file() { node_stop; }
# shellcheck shell=bash
load ../lib/common

IMAGE=localhost/hello:1

node_namespace_up() {
    export NETNS
    NETNS=coracle-test-$$
    ip netns add "$NETNS"
    ip -n "$NETNS" link set lo up
    # The node's own address, on one end of a veth pair whose other end nobody uses.
    ip -n "$NETNS" link add node0 type veth peer name node1
    ip -n "$NETNS" address add 192.0.2.10/24 dev node0
    ip -n "$NETNS" link set node0 up
    ip -n "$NETNS" link set node1 up
    ip -n "$NETNS" route add default dev node0
    # Not `ip netns exec`: that hides the cgroups.
    IN_NS=(nsenter "--net=/run/netns/$NETNS")
}

node_namespace_again() { # in each test: bats runs every test in a process of its own
    IN_NS=(nsenter "--net=/run/netns/$NETNS")
}

node_start() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    node_namespace_up
    server_start --node-name node-1 --cgroup-root "$NETNS" "$@"
    "$PROJECT/tests/lib/make-image.sh" "$DIR/hello.tar" "$IMAGE"
    "$CORACLE" image import --data-dir "$DIR/data" "$DIR/hello.tar"
    K wait --for=condition=Ready node/node-1 --timeout=60s
}

node_stop() {
    [ -n "${NETNS:-}" ] || return 0
    node_namespace_again
    server_kill TERM || server_kill KILL
    "${IN_NS[@]}" "$CORACLE" reset --cgroup-root "$NETNS" --data-dir "$DIR/data" --state-dir "$DIR/state" --log-dir "$DIR/logs" >>"$DIR/server.log" 2>&1 ||
        tail -n 5 "$DIR/server.log"
    ip netns delete "$NETNS"
    [ -n "${KEEP:-}" ] || rm -rf "$DIR"
}

# pod_log NAME: its log, once it has ended.
pod_ended() { case $(K get pod "$1" -o jsonpath='{.status.phase}') in Succeeded | Failed) ;; *) return 1 ;; esac; }
pod_log() {
    eventually 60 pod_ended "$1"
    K logs "$1"
}
field() { K get "$1" -o jsonpath="$2"; }
field_is() { [ "$(field "$1" "$2")" = "$3" ] || { echo "$1 $2 is '$(field "$1" "$2")', not '$3'"; return 1; }; }

# pod NAME COMMAND-AS-JSON [more spec lines]: applies a pod of the test image.
pod() {
    K apply -f - <<EOF
apiVersion: v1
kind: Pod
metadata: {name: $1, labels: {app: $1}}
spec:
  restartPolicy: ${RESTART:-Never}
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: $IMAGE
    command: $2
$(printf '%s\n' "${@:3}")
EOF
}
