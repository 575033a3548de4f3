#!/usr/bin/env bats
# Where pods go, and images that come from a registry.
load ../lib/node

setup_file() { node_start; }
teardown_file() {
    [ -z "${REGISTRY_PID:-}" ] || kill "$REGISTRY_PID" 2>/dev/null || true
    node_stop
}
setup() { node_namespace_again; }

phase_is() { field_is "pod/$1" '{.status.phase}' "$2"; }
event_says() { contains "$(K describe pod "$1")" "$2"; }

@test "a node selector that no node has waits, and is woken by the label" {
    RESTART=Always pod picky '[sleep, "3600"]' '  nodeSelector: {disk: fast}'
    eventually 20 event_says picky "0/1 nodes are available: 1 node\(s\) didn't match Pod's node affinity/selector"
    phase_is picky Pending
    K label node node-1 disk=fast
    K wait --for=condition=Ready pod/picky --timeout=20s
    K label node node-1 disk-
    K delete pod picky --now
}

@test "cordon keeps pods away, uncordon lets them in" {
    K cordon node-1
    contains "$(K get node node-1)" 'Ready,SchedulingDisabled'
    RESTART=Always pod later '[sleep, "3600"]'
    eventually 20 event_says later 'node\(s\) were unschedulable'
    K uncordon node-1
    K wait --for=condition=Ready pod/later --timeout=20s
    K delete pod later --now
}

@test "a taint repels what does not tolerate it" {
    K taint node node-1 team=blue:NoSchedule
    RESTART=Always pod red '[sleep, "3600"]'
    RESTART=Always pod blue '[sleep, "3600"]' '  tolerations: [{key: team, operator: Equal, value: blue, effect: NoSchedule}]'
    K wait --for=condition=Ready pod/blue --timeout=20s
    eventually 20 event_says red 'untolerated taint \{team: blue\}'
    K taint node node-1 team-
    K wait --for=condition=Ready pod/red --timeout=20s
    K delete pod red blue --now
}

@test "requests fill the node; room that comes back is used" {
    cpus=$(field node/node-1 '{.status.allocatable.cpu}')
    most=$((cpus * 1000 - 200))
    RESTART=Always pod big '[sleep, "3600"]' "    resources: {requests: {cpu: ${most}m}}"
    K wait --for=condition=Ready pod/big --timeout=20s
    RESTART=Always pod next '[sleep, "3600"]' '    resources: {requests: {cpu: 500m}}'
    eventually 20 event_says next '1 Insufficient cpu'
    K delete pod big --now
    K wait --for=condition=Ready pod/next --timeout=30s
    K delete pod next --now
}

@test "drain evicts what a ReplicaSet will replace" {
    K create deployment moved --image="$IMAGE" --replicas=1 -- sleep 3600
    K rollout status deployment/moved --timeout=60s
    before=$(K get pods -l app=moved -o jsonpath='{.items[0].metadata.name}')
    K drain node-1 --ignore-daemonsets --timeout=60s
    [ -z "$(K get pod "$before" --ignore-not-found)" ]
    K uncordon node-1
    K rollout status deployment/moved --timeout=60s
    K delete deployment moved
}

@test "a disruption budget is counted, and holds a drain up until it allows it" {
    K create deployment guarded --image="$IMAGE" --replicas=1 -- sleep 3600
    K rollout status deployment/guarded --timeout=60s
    K create poddisruptionbudget guarded --selector=app=guarded --min-available=1
    eventually 20 field_is pdb/guarded '{.status.currentHealthy}{.status.desiredHealthy}{.status.expectedPods}{.status.disruptionsAllowed}' 1110
    out=$(K drain node-1 --ignore-daemonsets --timeout=4s 2>&1) && return 1
    contains "$out" "Cannot evict pod as it would violate the pod's disruption budget"
    K uncordon node-1
    K scale deployment/guarded --replicas=2
    eventually 30 field_is pdb/guarded '{.status.disruptionsAllowed}' 1
    contains "$(K get pdb guarded)" '^guarded +1 +N/A +1 '
    K delete pdb guarded
    K drain node-1 --ignore-daemonsets --timeout=60s
    K uncordon node-1
    K delete deployment guarded
}

@test "an image from a registry: pulled, pulled again when asked, a wrong tag says so" {
    command -v docker-registry >/dev/null && command -v skopeo >/dev/null || skip "needs docker-registry and skopeo"
    cat >"$DIR/registry.yml" <<EOF
version: 0.1
storage: {filesystem: {rootdirectory: $DIR/registry}}
http: {addr: "127.0.0.1:5000"}
EOF
    "${IN_NS[@]}" docker-registry serve "$DIR/registry.yml" >"$DIR/registry.log" 2>&1 3>&- 4>&- &
    registry=$!
    eventually 20 "${IN_NS[@]}" curl -fs http://127.0.0.1:5000/v2/
    "${IN_NS[@]}" skopeo copy --insecure-policy --dest-tls-verify=false "docker-archive:$DIR/hello.tar" docker://127.0.0.1:5000/shop/hello:7 >/dev/null
    IMAGE=127.0.0.1:5000/shop/hello:7 pod pulled '[echo, "from the registry"]'
    [ "$(pod_log pulled)" = 'from the registry' ]
    contains "$(K describe pod pulled)" 'Successfully pulled image "127.0.0.1:5000/shop/hello:7"'
    contains "$(field pod/pulled '{.status.containerStatuses[0].imageID}')" 'sha256:'
    IMAGE=127.0.0.1:5000/shop/hello:8 pod wrong '[echo]'
    eventually 20 event_says wrong 'Failed to pull image "127.0.0.1:5000/shop/hello:8".*not found'
    kill $registry
    wait $registry 2>/dev/null || true
    K delete pod pulled wrong --now
}
