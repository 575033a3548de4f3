#!/usr/bin/env bats
# The released kubectls, unchanged, against the API server alone: every verb that needs no running container.
load ../lib/common

setup_file() { server_start --without node,network; }
teardown_file() { server_stop; }

version_and_discovery() {
    contains "$(K version 2>&1)" 'Server Version: .*v1\.34'
    contains "$(K api-resources)" '^deployments +deploy +apps/v1 +true +Deployment'
    contains "$(K api-versions)" '^apps/v1$'
    [ "$(K get --raw /readyz)" = ok ]
}

create_and_get() {
    local ns
    ns=t$(minor)-crud
    K create namespace "$ns"
    K -n "$ns" create configmap settings --from-literal=a=1 --from-literal=b=two
    contains "$(K -n "$ns" get configmap settings)" '^settings +2 '
    [ "$(K -n "$ns" get cm settings -o jsonpath='{.data.b}')" = two ]
    contains "$(K -n "$ns" get cm settings -o yaml)" '^  b: two$'
    contains "$(K -n "$ns" get cm settings -o json)" '"kind": "ConfigMap"'
    contains "$(K -n "$ns" get cm settings -o wide)" '^settings'
    contains "$(K -n "$ns" describe cm settings)" '^two$'
    K -n "$ns" create secret generic token --from-literal=key=value
    [ "$(K -n "$ns" get secret token -o jsonpath='{.data.key}')" = dmFsdWU= ]
    K -n "$ns" create serviceaccount robot
    K -n "$ns" create deployment web --image=registry.example/web:1 --replicas=2
    contains "$(K -n "$ns" get deployments)" '^web +0/2 '
    contains "$(K get deployments -A)" "^$ns +web "
    K -n "$ns" expose deployment web --port=80 --target-port=8080
    contains "$(K -n "$ns" get service web)" '^web +ClusterIP +10\.[0-9.]+ +<none> +80/TCP'
    K delete namespace "$ns" --wait=false
}

labels_and_selectors() {
    local ns
    ns=t$(minor)-labels
    K create namespace "$ns"
    K -n "$ns" create configmap one --from-literal=x=1
    K -n "$ns" create configmap two --from-literal=x=2
    K -n "$ns" label configmap one tier=front
    K -n "$ns" annotate configmap one note='hello there'
    [ "$(K -n "$ns" get cm -l tier=front -o name)" = configmap/one ]
    [ "$(K -n "$ns" get cm -l 'tier notin (front)' -o name | grep -c two)" = 1 ]
    [ "$(K -n "$ns" get cm --field-selector metadata.name=two -o name)" = configmap/two ]
    contains "$(K -n "$ns" get cm --show-labels -l tier)" 'tier=front'
    K -n "$ns" label configmap one tier-
    [ -z "$(K -n "$ns" get cm -l tier -o name)" ]
    K delete namespace "$ns" --wait=false
}

apply_edit_patch() {
    local ns out
    ns=t$(minor)-apply
    K create namespace "$ns"
    cat >"$DIR/web.yaml" <<EOF
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "registry.example/web:1", ports: [{containerPort: 80}], resources: {limits: {cpu: 500m, memory: 64Mi}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
EOF
    out=$(K -n "$ns" apply -f "$DIR/web.yaml")
    contains "$out" 'deployment.apps/web created'
    out=$(K -n "$ns" apply -f "$DIR/web.yaml")
    contains "$out" 'deployment.apps/web unchanged'
    contains "$out" 'service/web unchanged'
    sed -i 's/web:1/web:2/' "$DIR/web.yaml"
    contains "$(K -n "$ns" diff -f "$DIR/web.yaml" || true)" '^\+ +.*image: registry.example/web:2'
    contains "$(K -n "$ns" apply -f "$DIR/web.yaml")" 'deployment.apps/web configured'
    contains "$(K -n "$ns" apply --dry-run=server -f "$DIR/web.yaml")" 'deployment.apps/web unchanged \(server dry run\)'
    K -n "$ns" set image deployment/web web=registry.example/web:3
    [ "$(K -n "$ns" get deploy web -o jsonpath='{.spec.template.spec.containers[0].image}')" = registry.example/web:3 ]
    K -n "$ns" scale deployment web --replicas=5
    [ "$(K -n "$ns" get deploy web -o jsonpath='{.spec.replicas}')" = 5 ]
    K -n "$ns" patch deployment web -p '{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"A","value":"1"}]}]}}}}'
    K -n "$ns" patch deployment web --type=merge -p '{"metadata":{"labels":{"merged":"yes"}}}'
    K -n "$ns" patch deployment web --type=json -p '[{"op":"replace","path":"/spec/replicas","value":1}]'
    [ "$(K -n "$ns" get deploy web -o jsonpath='{.spec.template.spec.containers[0].env[0].value}{.metadata.labels.merged}{.spec.replicas}')" = 1yes1 ]
    printf '#!/bin/sh\nexec sed -i "s/merged: .*/merged: edited/" "$1"\n' >"$DIR/editor"
    chmod +x "$DIR/editor"
    EDITOR=$DIR/editor K -n "$ns" edit deployment web
    [ "$(K -n "$ns" get deploy web -o jsonpath='{.metadata.labels.merged}')" = edited ]
    K -n "$ns" replace -f "$DIR/web.yaml"
    contains "$(K -n "$ns" describe deployment web)" 'Image: +registry.example/web:2'
    K -n "$ns" delete -f "$DIR/web.yaml"
    [ -z "$(K -n "$ns" get deploy -o name)" ]
    K delete namespace "$ns" --wait=false
}

watch_and_wait() {
    local ns
    ns=t$(minor)-watch
    K create namespace "$ns"
    timeout 30 "$KUBECTL" --cache-dir "$DIR/cache" -n "$ns" get configmaps -w -o name >"$DIR/watch-$ns" 2>&1 3>&- 4>&- &
    local pid=$!
    eventually 20 grep -q kube-root-ca.crt "$DIR/watch-$ns"
    K -n "$ns" create configmap late --from-literal=x=1
    eventually 20 grep -q configmap/late "$DIR/watch-$ns"
    kill $pid; wait $pid 2>/dev/null || true
    K -n "$ns" wait --for=jsonpath='{.data.x}'=1 configmap/late --timeout=10s
    K -n "$ns" delete configmap late
    K -n "$ns" wait --for=delete configmap/late --timeout=10s
    K delete namespace "$ns" --timeout=30s
}

permissions() {
    local ns out
    ns=t$(minor)-rbac
    K create namespace "$ns"
    K -n "$ns" create serviceaccount reader
    K -n "$ns" create role reads --verb=get,list --resource=pods
    K -n "$ns" create rolebinding reads --role=reads --serviceaccount="$ns:reader"
    [ "$(K -n "$ns" auth can-i list pods --as="system:serviceaccount:$ns:reader")" = yes ]
    [ "$(K -n "$ns" auth can-i delete pods --as="system:serviceaccount:$ns:reader" || true)" = no ]
    contains "$(K -n "$ns" auth can-i --list --as="system:serviceaccount:$ns:reader")" '^pods +\[\] +\[\] +\[get list\]'
    local token
    token=$(K -n "$ns" create token reader)
    out=$("$KUBECTL" --cache-dir "$DIR/cache" --kubeconfig /dev/null --server "https://127.0.0.1:$PORT" --insecure-skip-tls-verify --token "$token" -n "$ns" get pods 2>&1)
    contains "$out" 'No resources found'
    out=$("$KUBECTL" --cache-dir "$DIR/cache" --kubeconfig /dev/null --server "https://127.0.0.1:$PORT" --insecure-skip-tls-verify --token "$token" -n "$ns" get secrets 2>&1) && return 1
    contains "$out" "secrets is forbidden: User \"system:serviceaccount:$ns:reader\" cannot list resource \"secrets\" in API group \"\" in the namespace \"$ns\""
    K delete namespace "$ns" --wait=false
}

explain_and_validate() {
    local out
    contains "$(K explain deployment.spec.replicas)" 'replicas'
    cat >"$DIR/bad.yaml" <<EOF
apiVersion: v1
kind: Pod
metadata: {name: bad}
spec: {containers: [{name: a, image: x, imagee: y}]}
EOF
    out=$(K create -f "$DIR/bad.yaml" 2>&1) && return 1
    contains "$out" 'unknown field "spec.containers\[0\].imagee"'
    cat >"$DIR/bad.yaml" <<EOF
apiVersion: v1
kind: Pod
metadata: {name: Bad_Name}
spec: {containers: [{name: a}]}
EOF
    out=$(K create -f "$DIR/bad.yaml" 2>&1) && return 1
    contains "$out" 'metadata.name: Invalid value: "Bad_Name"'
    contains "$out" 'spec.containers\[0\].image: Required value'
}

@test "version, api-resources, api-versions" { each_kubectl version_and_discovery; }
@test "create, get as table, wide, yaml, json, jsonpath, describe, expose" { each_kubectl create_and_get; }
@test "label, annotate, -l, --field-selector" { each_kubectl labels_and_selectors; }
@test "apply twice, diff, set image, scale, patch x3, edit, replace, delete" { each_kubectl apply_edit_patch; }
@test "get -w, wait" { each_kubectl watch_and_wait; }
@test "RBAC: can-i, tokens, a refusal names the permission" { each_kubectl permissions; }
@test "explain, unknown fields, invalid values" { each_kubectl explain_and_validate; }
