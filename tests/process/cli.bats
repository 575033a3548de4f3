#!/usr/bin/env bats
# The project's own command line beside kubectl: the same words in, the same text out.
load ../lib/common

setup_file() {
    server_start --without node,network
    K apply -f - <<EOF
apiVersion: v1
kind: ConfigMap
metadata: {name: one, labels: {app: x}, creationTimestamp: null}
data: {k: "v\nw", z: "1"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: m, image: "localhost/x:1"}]}
EOF
    eventually 20 two_pods
}
teardown_file() { server_stop; }
two_pods() { [ "$(K get pods -l app=web -o name | wc -l)" = 2 ]; }

# alike WORDS...: both print the same and end the same. Ages are made the same first: they pass.
alike() {
    local mine=0 theirs=0
    "$CORACLE" "$@" >"$DIR/mine" 2>"$DIR/mine.err" || mine=$?
    K "$@" >"$DIR/theirs" 2>"$DIR/theirs.err" || theirs=$?
    sed -Ei 's/ [0-9]+[smh]( |$)/ AGE\1/' "$DIR/mine" "$DIR/theirs"
    diff "$DIR/theirs" "$DIR/mine" && diff "$DIR/theirs.err" "$DIR/mine.err" && [ $mine = $theirs ] ||
        { echo "not alike ($theirs, $mine): $*"; return 1; }
}

@test "get: tables, wide, several kinds, all namespaces, selectors, nothing there" {
    alike get namespaces
    alike get pods
    alike get po -o wide
    alike get deploy,cm -A
    alike get cm/one deploy/web
    alike get pods -A -l app=web --no-headers
    alike get pods --field-selector status.phase=Running
    alike get pods -n kube-system
    alike get clusterroles
    alike get cm nothere one
    alike get cm nothere --ignore-not-found
}

@test "get: json, yaml, name, jsonpath, custom-columns" {
    alike get deploy web -o json
    alike get deploy web -o yaml
    alike get cm -o yaml
    alike get rs -o json
    alike get pods,deploy -o name
    alike get deploy -o 'jsonpath={.items[0].spec.template}'
    alike get pods -o 'jsonpath={range .items[*]}{.metadata.name}{"\t"}{.status.phase}{"\n"}{end}'
    alike get deploy web -o 'jsonpath={.spec.template.spec.containers[?(@.name=="m")].image}'
    alike get pods -o 'custom-columns=N:.metadata.name,I:.spec.containers[*].image,Z:.spec.nothing'
}

@test "what is wrong is said, with the exit status that it has" {
    run "$CORACLE" get spoons
    [ "$status" = 2 ]
    contains "$output" "^error: the server doesn't have a resource type \"spoons\"$"
    run "$CORACLE" get pods -o xml
    [ "$status" = 2 ]
    contains "$output" 'unable to match a printer suitable for the output format "xml"'
    run "$CORACLE" get cm one --token wrong --kubeconfig /dev/null --server "https://127.0.0.1:$PORT" --insecure-skip-tls-verify
    [ "$status" = 1 ]
    run "$CORACLE" get cm one --server https://127.0.0.1:1
    [ "$status" = 1 ]
    contains "$output" '^error: '
    run "$CORACLE" image
    [ "$status" = 2 ]
    contains "$output" '^  import +take images in'
    run "$CORACLE" image dance
    [ "$status" = 2 ]
    contains "$output" 'unknown verb "dance"'
}

@test "metrics: every part's rows on one page" {
    page=$(K get --raw /metrics)
    contains "$page" '^store_commits_total [1-9]'
    contains "$page" '^store_commit_seconds_count [1-9]'
    contains "$page" '^apiserver_request_total\{verb="create",code="201"\} [1-9]'
    contains "$page" '^workqueue_work_duration_seconds_bucket\{name="[a-z-]+",le="\+Inf"\} [1-9]'
    [ -z "$(sed -n 's/^# TYPE \([^ ]*\) .*/\1/p' <<<"$page" | sort | uniq -d)" ]
}

@test "describe tells the object and its events, and no Secret's data" {
    K create secret generic hidden --from-literal=key=topsecret --dry-run=client -o yaml | K apply -f -
    out=$("$CORACLE" describe secret hidden)
    contains "$out" '^Name: +hidden$'
    contains "$out" '^  Key:  12 characters of base64$'
    if grep -e topsecret -e dG9wc2VjcmV0 <<<"$out"; then return 1; fi
    out=$("$CORACLE" describe deploy web)
    contains "$out" '^  Replicas: +2$'
    contains "$out" 'Normal +ScalingReplicaSet +[0-9]+s +deployment-controller +Scaled up replica set'
}

@test "apply: created, unchanged, configured; fields go with the file; kubectl goes on where it ended" {
    cat >"$DIR/app.yaml" <<EOF
apiVersion: v1
kind: ConfigMap
metadata: {name: app, labels: {a: "1"}}
data: {k: v, gone: soon}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 1
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers:
      - {name: m, image: "localhost/x:1", env: [{name: A, value: "1"}, {name: B, value: "2"}]}
EOF
    [ "$("$CORACLE" apply -f "$DIR/app.yaml")" = $'configmap/app created\ndeployment.apps/app created' ]
    [ "$("$CORACLE" apply -f "$DIR/app.yaml")" = $'configmap/app unchanged\ndeployment.apps/app unchanged' ]
    [ "$(K apply -f "$DIR/app.yaml")" = $'configmap/app unchanged\ndeployment.apps/app unchanged' ]
    K label configmap app others=stay
    sed -i 's/, gone: soon//; s/value: "1"/value: "9"/; s/, {name: B, value: "2"}//' "$DIR/app.yaml"
    [ "$("$CORACLE" apply -f - <"$DIR/app.yaml")" = $'configmap/app configured\ndeployment.apps/app configured' ]
    [ "$(K get cm app -o 'jsonpath={.data} {.metadata.labels}')" = '{"k":"v"} {"a":"1","others":"stay"}' ]
    [ "$(K get deploy app -o 'jsonpath={.spec.template.spec.containers[0].env}')" = '[{"name":"A","value":"9"}]' ]
    [ "$(K apply -f "$DIR/app.yaml")" = $'configmap/app unchanged\ndeployment.apps/app unchanged' ]
    sed -i 's/replicas: 1/replicas: 2/' "$DIR/app.yaml"
    [ "$("$CORACLE" apply --dry-run -f "$DIR/app.yaml" | tail -n 1)" = 'deployment.apps/app configured (server dry run)' ]
    [ "$(K get deploy app -o 'jsonpath={.spec.replicas}')" = 1 ]
    K apply -f "$DIR/app.yaml"
    [ "$("$CORACLE" apply -f "$DIR/app.yaml" | tail -n 1)" = 'deployment.apps/app unchanged' ]
    run "$CORACLE" apply -f "$DIR/nothere.yaml"
    [ "$status" = 1 ]
    contains "$output" 'nothere.yaml": No such file'
    printf 'kind: ConfigMap\napiVersion: v1\nmetadata: {name: bad}\ndata: [1]\n' >"$DIR/bad.yaml"
    run "$CORACLE" apply -f "$DIR/bad.yaml"
    [ "$status" = 1 ]
    contains "$output" '^Error from server \(BadRequest\)'
}

@test "delete by name, by selector, by file" {
    K create configmap a && K create configmap b && K label configmap b kill=yes
    K create configmap c -o yaml --dry-run=client >"$DIR/c.yaml"
    K create -f "$DIR/c.yaml"
    run "$CORACLE" delete configmap a nothere
    [ "$status" = 1 ]
    contains "$output" '^configmap "a" deleted from default namespace$'
    contains "$output" '^Error from server \(NotFound\): configmaps "nothere" not found$'
    "$CORACLE" delete cm -l kill=yes
    "$CORACLE" delete -f "$DIR/c.yaml"
    [ -z "$(K get configmap a b c --ignore-not-found -o name)" ]
    run "$CORACLE" delete pods
    [ "$status" = 2 ]
    contains "$output" 'no name, label selector, or --all flag specified'
}
