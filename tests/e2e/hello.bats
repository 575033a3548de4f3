#!/usr/bin/env bats
# The example, for real: containers, networks, Services, DNS, rollouts.
load ../lib/node

setup_file() {
    node_start
    K apply -f "$PROJECT/examples/hello"
}
teardown_file() { node_stop; }
setup() { node_namespace_again; }

@test "the Deployment comes up and is spread over the Service" {
    K rollout status deployment/hello --timeout=90s
    contains "$(K get deployment hello)" '^hello +3/3 +3 +3 '
    [ "$(K get pods -l app=hello --field-selector status.phase=Running -o name | wc -l)" = 3 ]
    ips=$(K get pods -l app=hello -o jsonpath='{.items[*].status.podIP}')
    [ "$(tr ' ' '\n' <<<"$ips" | sort -u | wc -l)" = 3 ]
    contains "$(K get pods -o wide)" 'node-1'
}

node_port() { "${IN_NS[@]}" curl -fsS --max-time 5 "http://192.0.2.10:30080/$1"; }

@test "the NodePort answers from the host, over all pods" {
    eventually 30 node_port
    contains "$(node_port)" 'Hello from coracle'
    for _ in $(seq 30); do node_port cgi-bin/whoami; done >"$DIR/answers"
    [ "$(sort -u "$DIR/answers" | wc -l)" = 3 ]
    contains "$(head -n 1 "$DIR/answers")" '^Ahoy, this is pod hello-'
}

@test "the Service answers by address and by DNS name from inside another pod" {
    ip=$(field service/hello '{.spec.clusterIP}')
    pod visitor "[sh, -c, 'wget -qO- http://hello/ && wget -qO- http://hello.default.svc.cluster.local/ && wget -qO- http://$ip/cgi-bin/whoami']"
    log=$(pod_log visitor)
    [ "$(grep -c 'Hello from coracle' <<<"$log")" = 2 ]
    contains "$log" '^Ahoy, this is pod hello-'
    field_is pod/visitor '{.status.phase}' Succeeded
}

@test "scale up and down" {
    K scale deployment/hello --replicas=5
    K rollout status deployment/hello --timeout=60s
    contains "$(K get deployment hello)" '^hello +5/5'
    K scale deployment/hello --replicas=2
    eventually 30 bash -c "[ \$(${IN_NS[*]} $KUBECTL get pods -l app=hello -o name | wc -l) = 2 ]"
    K scale deployment/hello --replicas=3
    K rollout status deployment/hello --timeout=60s
}

@test "a rolling update loses no request; history and undo" {
    "$PROJECT/tests/lib/make-image.sh" "$DIR/hello2.tar" localhost/hello:2
    "$CORACLE" image import --data-dir "$DIR/data" "$DIR/hello2.tar"
    touch "$DIR/load"
    (
        while [ -e "$DIR/load" ]; do
            node_port >/dev/null 2>>"$DIR/load-errors" && echo ok || echo lost
        done >"$DIR/load-results"
    ) 3>&- 4>&- &
    load=$!
    K set image deployment/hello web=localhost/hello:2
    K rollout status deployment/hello --timeout=90s
    K rollout history deployment/hello | tee "$DIR/history"
    K rollout undo deployment/hello
    K rollout status deployment/hello --timeout=90s
    rm "$DIR/load"
    wait $load
    field_is deployment/hello '{.spec.template.spec.containers[0].image}' localhost/hello:1
    [ "$(grep -c '^[12] ' "$DIR/history")" = 2 ]
    [ "$(grep -c ok "$DIR/load-results")" -gt 10 ]
    if grep lost "$DIR/load-results"; then cat "$DIR/load-errors"; return 1; fi
}

@test "a killed container is restarted, a deleted pod replaced" {
    name=$(K get pods -l app=hello -o jsonpath='{.items[0].metadata.name}')
    K delete pod "$name" --wait=false
    eventually 30 bash -c "${IN_NS[*]} $KUBECTL get deployment hello | grep -q ' 3/3 '"
    K rollout status deployment/hello --timeout=60s
    [ -z "$(K get pod "$name" --ignore-not-found -o jsonpath='{.metadata.deletionTimestamp}' | grep -v .)" ]
    RESTART=Always pod phoenix "[sh, -c, 'sleep 1; exit 3']"
    eventually 30 bash -c "[ \$(${IN_NS[*]} $KUBECTL get pod phoenix -o jsonpath='{.status.containerStatuses[0].restartCount}') -ge 1 ]"
    field_is pod/phoenix '{.status.containerStatuses[0].lastState.terminated.exitCode}' 3
    K delete pod phoenix
}
