#!/usr/bin/env bats
# The verbs of kubectl that need running containers, and a manifest as real charts have it.
load ../lib/node

setup_file() { node_start; }
teardown_file() { node_stop; }
setup() { node_namespace_again; }

web() { # NAMESPACE: a Deployment of two guaranteed pods and its Service
    K create namespace "$1"
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
      terminationGracePeriodSeconds: 1
      containers:
      - {name: web, image: $IMAGE, command: [sh, -c, "echo start; echo err >&2; exec sleep 9999"], ports: [{containerPort: 80}], resources: {limits: {cpu: 50m, memory: 32Mi}}}
---
apiVersion: v1
kind: Service
metadata: {name: web, labels: {app: web}}
spec: {selector: {app: web}, ports: [{port: 80}]}
EOF
    K -n "$1" apply -f "$DIR/web.yaml"
    K -n "$1" rollout status deployment/web --timeout=60s
}
first_pod() { K -n "$1" get pods -l app=web --field-selector status.phase=Running -o jsonpath='{.items[0].metadata.name}'; }
is() { [ "$1" = "$2" ] || { printf 'is:     %s\nwanted: %s\n' "$1" "$2"; return 1; }; }

@test "guaranteed pods start, and without a warning" {
    web calm
    K -n calm get pods -o jsonpath='{.items[0].status.qosClass}' | grep -q Guaranteed
    out=$(K -n calm get events --field-selector type=Warning -o name)
    is "$out" ''
    contains "$(K -n calm get endpointslices)" '^web-[a-z0-9]+ +IPv4 +80 +10\.[0-9.]+,10\.[0-9.]+ '
    contains "$(K -n calm get endpoints web 2>/dev/null)" '^web +10\.[0-9.]+:80,10\.[0-9.]+:80 '
    contains "$(K -n calm describe pod "$(first_pod calm)")" '^QoS Class: +Guaranteed'
    contains "$(K describe node node-1)" '^  cpu +100m \('
}

logs_exec_copy() {
    local p
    p=$(first_pod calm)
    [ "$(K -n calm logs deploy/web 2>/dev/null)" = $'start\nerr' ]
    [ "$(K -n calm logs -l app=web --all-containers --prefix --timestamps | grep -cE '^\[pod/web-[^ ]+/web\] 20[^ ]+Z (start|err)$')" = 4 ]
    [ -z "$(K -n calm logs "$p" --since=1s --tail=0)" ]
    refused 'container nope is not valid for pod' K -n calm logs "$p" -c nope
    refused 'pods "nope" not found' K -n calm logs nope
    if [ "$(minor)" -ge 31 ]; then
        [ "$(K -n calm exec "$p" -- echo hello)" = hello ]
        K -n calm cp "$DIR/web.yaml" "$p:/tmp/w"
        K -n calm cp "$p:/tmp/w" "$DIR/back"
        cmp "$DIR/web.yaml" "$DIR/back"
    elif [ "$(minor)" -le 29 ]; then
        refused 'exec over WebSocket only; use kubectl 1\.3' K -n calm exec "$p" -- echo hello
    fi
    refused 'pods/portforward is not served yet' K -n calm port-forward "$p" 18080:80
    refused 'Metrics API not available' K top pod
}
@test "logs in all ways, exec, cp; what is not served says so" { some_kubectls logs_exec_copy; }

rollouts() {
    local ns
    ns=r$(minor)
    web "$ns"
    K -n "$ns" set env deploy/web A=1
    K -n "$ns" rollout status deploy/web --timeout=60s
    contains "$(K -n "$ns" set env deploy/web --list)" '^A=1$'
    contains "$(K -n "$ns" rollout history deploy web)" '^2 +<none>'
    contains "$(K -n "$ns" rollout history deploy web --revision=2)" 'A:[[:space:]]*1'
    K -n "$ns" rollout undo deploy web --to-revision=1
    K -n "$ns" rollout status deploy/web --timeout=60s
    is "$(K -n "$ns" get deploy web -o jsonpath='{.spec.template.spec.containers[0].env}')" ''
    refused 'unable to find specified revision 99' K -n "$ns" rollout undo deploy web --to-revision=99
    K -n "$ns" rollout pause deploy web
    refused 'is already paused' K -n "$ns" rollout pause deploy web
    refused "can't restart paused deployment" K -n "$ns" rollout restart deploy web
    K -n "$ns" set resources deploy/web --limits=cpu=40m,memory=32Mi
    is "$(K -n "$ns" get rs -o name | wc -l)" 2
    K -n "$ns" rollout resume deploy web
    K -n "$ns" rollout restart deploy web
    K -n "$ns" rollout status deploy/web --timeout=60s
    K -n "$ns" wait --for=condition=Available deploy/web --timeout=10s
    refused 'Expected replicas to be 5, was 2' K -n "$ns" scale deploy web --current-replicas=5 --replicas=1
    refused 'timed out waiting for the condition' K -n "$ns" wait --for=condition=Nope deploy/web --timeout=1s
    contains "$(K -n "$ns" events --for deploy/web)" 'ScalingReplicaSet +Deployment/web +Scaled up replica set web-'
    K delete namespace "$ns" --timeout=30s
}
@test "rollout history, undo, pause, resume, restart; set env, set resources" { some_kubectls rollouts; }

@test "delete: orphans stay, foreground takes the pods along, --now, --force" {
    K -n calm delete deploy web --cascade=orphan
    is "$(K -n calm get rs,pods -l app=web -o name | wc -l)" 3
    K -n calm delete rs --all --cascade=foreground --timeout=30s
    is "$(K -n calm get pods -l app=web -o name)" ''
    K run lazy --image=$IMAGE -- sleep 9999
    K wait --for=condition=Ready pod/lazy --timeout=20s
    K delete pod lazy --now --timeout=20s
    K run lazy --image=$IMAGE -- sleep 9999
    contains "$(K delete pod lazy --force 2>/dev/null)" 'pod "lazy" force deleted'
    refused 'pods "lazy" not found' K get pod lazy
    K delete namespace calm --timeout=30s
}

@test "run --rm, run -i, debug a pod and a node" {
    contains "$(K run once --rm -i --image=$IMAGE --restart=Never -- echo said 2>/dev/null)" '^said$'
    contains "$(echo typed | K run typist --rm -i --image=$IMAGE --restart=Never -- cat 2>/dev/null)" '^typed'
    pod patient '[sleep, "9999"]'
    K wait --for=condition=Ready pod/patient --timeout=20s
    K debug patient -c doctor --image=$IMAGE -- echo well
    eventually 20 field_is pod/patient '{.status.ephemeralContainerStatuses[0].state.terminated.reason}' Completed
    is "$(K logs patient -c doctor)" well
    contains "$(K describe pod patient)" '^Ephemeral Containers:'
    out=$(K debug node/node-1 --image=$IMAGE -- ls /host)
    name=$(grep -oE 'node-debugger-node-1-[a-z0-9]+' <<<"$out")
    contains "$(pod_log "$name")" '^etc$'
    K delete pod patient "$name" --now
}

@test "taint, label, cordon speak as they should" {
    K taint node node-1 a=b:NoSchedule
    refused 'already has a taint\(s\) with same effect\(s\) and --overwrite is false' K taint node node-1 a=b:NoSchedule
    contains "$(K describe node node-1)" '^Taints: +a=b:NoSchedule'
    K taint node node-1 a-
    K label node node-1 x=y
    refused "'x' already has a value \(y\), and --overwrite is false" K label node node-1 x=z
    K label node node-1 x-
    K cordon node-1
    contains "$(K get nodes)" '^node-1 +Ready,SchedulingDisabled '
    K uncordon node-1
}

@test "a real chart: two tiers that wait for each other, a headless Service, probes, a claim that waits" {
    K create namespace shop
    K -n shop apply -f - <<EOF
apiVersion: v1
kind: ServiceAccount
metadata: {name: wordpress}
---
apiVersion: v1
kind: Secret
metadata: {name: mysql-pass}
stringData: {password: s3cret}
---
apiVersion: v1
kind: Service
metadata: {name: wordpress-mysql}
spec: {clusterIP: None, ports: [{port: 3306}], selector: {app: wordpress, tier: mysql}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: pages}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: wordpress}
spec:
  selector: {matchLabels: {app: wordpress, tier: frontend}}
  strategy: {type: Recreate}
  template:
    metadata: {labels: {app: wordpress, tier: frontend}}
    spec:
      serviceAccountName: wordpress
      terminationGracePeriodSeconds: 1
      securityContext: {fsGroup: 1000, runAsUser: 1000, runAsNonRoot: true}
      initContainers:
      - {name: wait-for-db, image: $IMAGE, command: [sh, -c, 'until nc -w 1 wordpress-mysql 3306 | grep mysql; do sleep 0.2; done']}
      containers:
      - name: wordpress
        image: $IMAGE
        command: [sh, -c, 'echo "wordpress on \$DB_HOST, \$DB_PASSWORD" >/tmp/index.html; exec httpd -f -p 8080 -h /tmp']
        env:
        - {name: DB_HOST, value: wordpress-mysql}
        - {name: DB_PASSWORD, valueFrom: {secretKeyRef: {name: mysql-pass, key: password}}}
        ports: [{containerPort: 8080, name: http}]
        startupProbe: {tcpSocket: {port: http}, periodSeconds: 1}
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
        livenessProbe: {httpGet: {path: /, port: http}}
        resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: wordpress-mysql}
spec:
  selector: {matchLabels: {app: wordpress, tier: mysql}}
  strategy: {type: Recreate}
  template:
    metadata: {labels: {app: wordpress, tier: mysql}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - {name: mysql, image: $IMAGE, command: [sh, -c, 'while :; do echo mysql | nc -l -p 3306; done'], volumeMounts: [{name: data, mountPath: /var/lib/mysql}]}
      volumes: [{name: data, emptyDir: {}}]
---
apiVersion: v1
kind: Service
metadata: {name: wordpress}
spec: {type: LoadBalancer, ports: [{port: 80, targetPort: http}], selector: {app: wordpress, tier: frontend}}
---
apiVersion: v1
kind: Pod
metadata: {name: claims}
spec:
  containers: [{name: a, image: $IMAGE, command: [sleep, "9999"], volumeMounts: [{name: v, mountPath: /v}]}]
  volumes: [{name: v, persistentVolumeClaim: {claimName: pages}}]
EOF
    K -n shop rollout status deployment/wordpress-mysql --timeout=60s
    K -n shop rollout status deployment/wordpress --timeout=60s
    ip=$(K -n shop get service wordpress -o jsonpath='{.spec.clusterIP}')
    answers() { [ "$("${IN_NS[@]}" curl -fsS --max-time 3 "http://$ip/")" = 'wordpress on wordpress-mysql, s3cret' ]; }
    eventually 20 answers
    contains "$(K -n shop get pvc)" '^pages +Pending '
    # The pod says why it does not start.
    says_why() { K -n shop events --for pod/claims | grep -iE 'Warning.*(claim|persistentVolume)'; }
    eventually 20 says_why
    K delete namespace shop --timeout=60s
}
