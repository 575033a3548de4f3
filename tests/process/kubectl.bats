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

# Every generator of `kubectl create`, and what get and describe say of it.
generators() {
    local ns out
    ns=t$(minor)-generators
    K create namespace "$ns"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$DIR/key.pem" -out "$DIR/cert.pem" -subj /CN=x -days 3 2>/dev/null
    K -n "$ns" create job once --image=x -- true
    K -n "$ns" create cronjob often --image=x --schedule='0 0 29 2 *' -- true
    K -n "$ns" create job now --from=cronjob/often
    K -n "$ns" create secret tls cert --cert="$DIR/cert.pem" --key="$DIR/key.pem"
    K -n "$ns" create secret docker-registry pull --docker-username=u --docker-password=p --docker-server=r.example
    K -n "$ns" create service clusterip inner --tcp=80:8080
    K -n "$ns" create service clusterip headless --clusterip=None
    K -n "$ns" create service nodeport outer --tcp=80:8080
    K -n "$ns" create service loadbalancer front --tcp=80:8080
    K -n "$ns" create service externalname away --external-name=example.com
    K -n "$ns" create ingress site --class=nginx --rule='foo.example/*=inner:80,tls=cert'
    K -n "$ns" create quota few --hard=pods=10
    K -n "$ns" create poddisruptionbudget keep --selector=app=web --min-available=50%
    K -n "$ns" create deployment web --image=x --replicas=0
    K -n "$ns" autoscale deployment web --min=1 --max=5 --cpu-percent=80
    K -n "$ns" run single --image=x --restart=Never
    K create priorityclass "$ns" --value=1000
    K create clusterrole "$ns" --verb=get --non-resource-url='/logs/*'
    K create clusterrolebinding "$ns" --clusterrole="$ns" --user=bob --serviceaccount="$ns:default"

    out=$(K -n "$ns" get services)
    contains "$out" '^headless +ClusterIP +None +<none> +<none> '
    contains "$out" '^outer +NodePort +10\.[0-9.]+ +<none> +80:3[0-9]{4}/TCP '
    contains "$out" '^front +LoadBalancer +10\.[0-9.]+ +<pending> +80:3[0-9]{4}/TCP '
    contains "$out" '^away +ExternalName +<none> +example.com +<none> '
    contains "$(K -n "$ns" get jobs)" '^once +Running +0/1 '
    contains "$(K -n "$ns" get cronjobs -o wide)" '^often +0 0 29 2 \* +<none> +(F|f)alse +0 +<none> +[0-9]+s +often +x +<none>'
    out=$(K -n "$ns" get secrets)
    contains "$out" '^cert +kubernetes.io/tls +2 '
    contains "$out" '^pull +kubernetes.io/dockerconfigjson +1 '
    contains "$(K -n "$ns" get ingress)" '^site +nginx +foo.example +80, 443 '
    contains "$(K -n "$ns" get pdb)" '^keep +50% +N/A +0 '
    contains "$(K -n "$ns" get hpa)" '^web +Deployment/web +(cpu: )?<unknown>/80% +1 +5 +0 '
    contains "$(K -n "$ns" get pod single)" '^single +0/1 +Pending +0 '
    contains "$(K get priorityclass "$ns")" "^$ns +1000 +false "
    contains "$(K get clusterrolebinding "$ns" -o wide)" "^$ns +ClusterRole/$ns +[0-9]+s +bob +$ns/default"
    contains "$(K -n "$ns" describe ingress site)" '^  cert terminates foo.example'
    contains "$(K -n "$ns" describe job once)" '^Completion Mode: +NonIndexed'
    contains "$(K describe namespace "$ns")" '^Status: +Active'
    contains "$(K describe clusterrole "$ns")" '\[/logs/\*\]'
    K delete namespace "$ns" --wait=false
}

output_forms() {
    local ns
    ns=t$(minor)-forms
    K create namespace "$ns"
    K -n "$ns" create configmap b --from-literal=x=1
    K -n "$ns" create configmap a --from-literal=x=1 --from-literal=y=2
    eventually 10 K -n "$ns" get cm/kube-root-ca.crt sa/default
    [ "$(K -n "$ns" get cm a -o custom-columns=N:.metadata.name,X:.data.x,Z:.nope --no-headers | tr -s ' ')" = 'a 1 <none>' ]
    [ "$(K -n "$ns" get cm -o go-template='{{range .items}}{{.metadata.name}} {{end}}')" = 'a b kube-root-ca.crt ' ]
    [ "$(K -n "$ns" get cm --sort-by='{.metadata.name}' -o name | tail -n 1)" = configmap/kube-root-ca.crt ]
    [ "$(K -n "$ns" get cm --chunk-size=1 -o name | wc -l)" = 3 ]
    [ "$(K -n "$ns" get cm,sa -o name | wc -l)" = 4 ]
    contains "$(K -n "$ns" get all 2>&1)" "^No resources found in $ns namespace"
    refused 'the server doesn.t have a resource type "nope"' K get nope
    refused 'configmaps "nope" not found' K -n "$ns" get cm nope
    refused 'field label not supported: x' K get pods --field-selector x=y
    refused 'the server could not find the requested resource' K get --raw /apis/nope/v1/foos
    K delete namespace "$ns" --wait=false
}

faults_of_patches() {
    local ns
    ns=t$(minor)-faults
    K create namespace "$ns"
    K -n "$ns" create configmap c --from-literal=a=1
    refused 'configmaps "c" already exists' K -n "$ns" create configmap c
    refused 'testing value /data/a failed' K -n "$ns" patch cm c --type=json -p '[{"op":"test","path":"/data/a","value":"2"}]'
    refused 'nonexistent key: zz' K -n "$ns" patch cm c --type=json -p '[{"op":"remove","path":"/data/zz"}]'
    refused 'The request is invalid: patch: Invalid value: "\{\\"data\\":\{\\"a\\":1\}\}": json: cannot unmarshal number' K -n "$ns" patch cm c --type=merge -p '{"data":{"a":1}}'
    refused 'the name of the object \(x\) does not match the name on the URL \(c\)' K -n "$ns" patch cm c --type=merge -p '{"metadata":{"name":"x"}}'
    refused 'the object has been modified; please apply your changes to the latest version' K -n "$ns" patch cm c --type=merge -p '{"metadata":{"resourceVersion":"1"}}'
    contains "$(K -n "$ns" patch cm c --type=merge -p '{"data":{"a":"1"}}')" 'configmap/c patched \(no change\)'
    eventually 10 K -n "$ns" get serviceaccount default
    K -n "$ns" run fixed --image=x
    refused 'pod updates may not change fields other than' K -n "$ns" patch pod fixed -p '{"spec":{"nodeName":"x"}}'
    # Server-side apply is refused in words of its own, whether the object is there or not.
    K -n "$ns" create configmap applied --from-literal=a=1 --dry-run=client -o yaml >"$DIR/applied.yaml"
    refused 'Server-side apply not available on the server: .*server-side apply is not served yet' K -n "$ns" apply --server-side -f "$DIR/applied.yaml"
    K -n "$ns" create -f "$DIR/applied.yaml"
    refused 'Server-side apply not available on the server: .*server-side apply is not served yet' K -n "$ns" apply --server-side -f "$DIR/applied.yaml"
    K delete namespace "$ns" --wait=false
}

validation_levels() {
    local ns out
    ns=t$(minor)-levels
    K create namespace "$ns"
    cat >"$DIR/unknown.yaml" <<EOF
apiVersion: v1
kind: ConfigMap
metadata: {name: unknown}
dota: {a: b}
EOF
    refused 'strict decoding error: unknown field "dota"' K -n "$ns" create --validate=strict -f "$DIR/unknown.yaml"
    out=$(K -n "$ns" create --validate=warn -f "$DIR/unknown.yaml" 2>&1)
    contains "$out" '^Warning: unknown field "dota"'
    contains "$out" '^configmap/unknown created'
    K -n "$ns" delete cm unknown
    out=$(K -n "$ns" create --validate=ignore -f "$DIR/unknown.yaml" 2>&1)
    [ "$out" = 'configmap/unknown created' ]
    K delete namespace "$ns" --wait=false
}

several_at_once() {
    local ns
    ns=t$(minor)-several
    K create namespace "$ns"
    mkdir -p "$DIR/kz"
    cat >"$DIR/kz/all.yaml" <<EOF
apiVersion: v1
kind: ConfigMap
metadata: {name: one, labels: {set: s}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: two, labels: {set: s}}
EOF
    printf 'namePrefix: my-\nresources: [all.yaml]\n' >"$DIR/kz/kustomization.yaml"
    contains "$(K -n "$ns" apply -k "$DIR/kz")" 'configmap/my-two created'
    contains "$(K -n "$ns" delete -k "$DIR/kz")" 'configmap "my-two" deleted'
    K -n "$ns" apply -f "$DIR/kz/all.yaml"
    sed '/^---/,$d' "$DIR/kz/all.yaml" >"$DIR/one.yaml"
    contains "$(K -n "$ns" apply --prune -l set=s -f "$DIR/one.yaml" --dry-run=server 2>/dev/null)" 'configmap/two pruned \(server dry run\)'
    contains "$(K -n "$ns" apply --prune -l set=s -f "$DIR/one.yaml" 2>/dev/null)" 'configmap/two pruned'
    [ "$(K -n "$ns" get cm -l set=s -o name)" = configmap/one ]
    contains "$(K -n "$ns" delete cm -l set=s --dry-run=server)" 'configmap "one" deleted (from .* namespace )?\(server dry run\)'
    K -n "$ns" delete cm -l set=s
    refused 'configmaps "one" not found' K -n "$ns" get cm one
    refused 'namespaces "default" is forbidden: this namespace may not be deleted' K delete namespace default
    K delete namespace "$ns" --wait=false
}

signing_requests() {
    local name
    name=jane-$(minor)
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$DIR/jane.key" -subj /O=dev/CN=jane -out "$DIR/jane.csr" 2>/dev/null
    K create -f - <<EOF
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: $name}
spec: {request: $(base64 -w0 "$DIR/jane.csr"), signerName: kubernetes.io/kube-apiserver-client, usages: [client auth], expirationSeconds: 86400}
EOF
    contains "$(K get csr "$name")" "^$name +[0-9]+s +kubernetes.io/kube-apiserver-client +kubernetes-admin +24h +Pending"
    contains "$(K certificate approve "$name")" 'approved'
    contains "$(K get csr "$name")" 'Approved'
    refused 'already Approved' K certificate deny "$name"
}

who_and_where() {
    local pid at
    if [ "$(minor)" -ge 28 ]; then
        contains "$(K auth whoami)" '^Groups +\[system:masters system:authenticated\]'
    else # it asks for versions that were never served here, and must be told so
        refused 'selfsubjectreviews API is not enabled|could not find the requested resource' K auth whoami
    fi
    contains "$(K auth can-i --list)" '^\*\.\* +\[\] +\[\] +\[\*\]'
    contains "$(K cluster-info)" "is running at .*https://127.0.0.1:$PORT"
    refused 'Metrics API not available' K top node
    contains "$(K explain pod.spec.restartPolicy 2>&1)" 'restartPolicy'
    contains "$(K explain deployment --recursive)" '^ +progressDeadlineSeconds'
    [ "$(K completion bash | wc -l)" -gt 100 ]
    K cluster-info dump --output-directory="$DIR/dump-$(minor)" --namespaces default
    [ -s "$DIR/dump-$(minor)/nodes.json" ]
    "$KUBECTL" --cache-dir "$DIR/cache" proxy --port=0 >"$DIR/proxy-$(minor)" 2>&1 3>&- 4>&- &
    pid=$!
    eventually 10 grep -q 'Starting to serve' "$DIR/proxy-$(minor)"
    at=$(grep -oE '127.0.0.1:[0-9]+' "$DIR/proxy-$(minor)")
    contains "$(curl -fsS "http://$at/version")" '"major": "1"'
    kill $pid
    wait $pid 2>/dev/null || true
}

@test "version, api-resources, api-versions" { each_kubectl version_and_discovery; }
@test "create, get as table, wide, yaml, json, jsonpath, describe, expose" { each_kubectl create_and_get; }
@test "label, annotate, -l, --field-selector" { each_kubectl labels_and_selectors; }
@test "apply twice, diff, set image, scale, patch x3, edit, replace, delete" { each_kubectl apply_edit_patch; }
@test "get -w, wait" { each_kubectl watch_and_wait; }
@test "RBAC: can-i, tokens, a refusal names the permission" { each_kubectl permissions; }
@test "explain, unknown fields, invalid values" { each_kubectl explain_and_validate; }
@test "every generator of create; its row and description" { some_kubectls generators; }
@test "columns, templates, sorting, pages; names that are not there" { some_kubectls output_forms; }
@test "patches that cannot be; server-side apply" { some_kubectls faults_of_patches; }
@test "--validate=strict, warn, ignore" { some_kubectls validation_levels; }
@test "apply -k, --prune, delete -l, dry-run" { some_kubectls several_at_once; }
@test "certificate signing requests" { some_kubectls signing_requests; }
@test "auth whoami, cluster-info, dump, explain --recursive, proxy, completion" { some_kubectls who_and_where; }
