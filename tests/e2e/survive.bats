#!/usr/bin/env bats
# Server and agent die and come back; containers do not notice. At the end nothing is left.
load ../lib/node

setup_file() { node_start; }
teardown_file() { node_stop; }
setup() { node_namespace_again; }

start_again() { server_run --node-name node-1 --cgroup-root "$NETNS"; }

@test "kill -9 of the server: containers go on and are taken back" {
    RESTART=Always pod steady "[sh, -c, 'i=0; while true; do i=\$((i+1)); echo \$i; sleep 0.2; done']"
    K wait --for=condition=Ready pod/steady --timeout=30s
    id=$(field pod/steady '{.status.containerStatuses[0].containerID}')
    server_kill KILL
    start_again
    K wait --for=condition=Ready node/node-1 --timeout=30s
    field_is pod/steady '{.status.containerStatuses[0].containerID}' "$id"
    field_is pod/steady '{.status.containerStatuses[0].restartCount}' 0
    eventually 20 bash -c "[ \$(${IN_NS[*]} $KUBECTL logs steady --tail=1) -gt 5 ]"
    # The log has no hole: it was written while nobody was there.
    [ "$(K logs steady | awk 'NR != $1 {bad=1} END {print bad+0}')" = 0 ]
}

@test "SIGTERM and start: the same" {
    id=$(field pod/steady '{.status.containerStatuses[0].containerID}')
    server_kill TERM
    start_again
    K wait --for=condition=Ready node/node-1 --timeout=30s
    field_is pod/steady '{.status.containerStatuses[0].containerID}' "$id"
}

@test "a container that ends while the server is away is restarted after" {
    RESTART=Always pod brief "[sleep, '3']"
    eventually 20 field_is pod/brief '{.status.phase}' Running
    server_kill KILL
    eventually 10 bash -c "! pgrep -f '^sleep 3\$' >/dev/null"
    start_again
    eventually 40 bash -c "[ \$(${IN_NS[*]} $KUBECTL get pod brief -o jsonpath='{.status.containerStatuses[0].restartCount}') -ge 1 ]"
}

@test "pods deleted leave nothing: mounts, namespaces, links, processes" {
    K delete pods --all --grace-period=1
    eventually 30 bash -c "! grep -q '$DIR/data/containers' /proc/mounts"
    eventually 10 bash -c "[ -z \"\$(ls $DIR/state/ns 2>/dev/null)\" ]"
    eventually 10 bash -c "! ip -n $NETNS link | grep -q ' cora'"
    eventually 10 bash -c "! ls -d /sys/fs/cgroup/*/$NETNS/*/pod* 2>/dev/null | grep -q ."
}

@test "reset takes away the rest" {
    server_kill TERM
    "${IN_NS[@]}" "$CORACLE" reset --cgroup-root "$NETNS" --data-dir "$DIR/data" --state-dir "$DIR/state" --log-dir "$DIR/logs"
    [ ! -e "$DIR/state" ]
    run ! ls -d /sys/fs/cgroup/*/"$NETNS"
    run ! grep "$DIR" /proc/mounts
    [ -z "$("${IN_NS[@]}" nft list tables)" ]
    run ! pgrep -f "supervisor.*$DIR"
    start_again
    K wait --for=condition=Ready node/node-1 --timeout=60s
}
