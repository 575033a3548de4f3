#!/usr/bin/env bats
# One pod at a time: what containers see, how they start and end, logs and exec, and what people read when it fails.
load ../lib/node

setup_file() { node_start; }
teardown_file() { node_stop; }
setup() { node_namespace_again; }

@test "environment in all its forms" {
    K create configmap settings --from-literal=color=blue --from-literal=size=9
    K create secret generic keys --from-literal=door=1234
    pod env "[sh, -c, env]" \
        '    env:' \
        '    - {name: PLAIN, value: "a b"}' \
        '    - {name: NESTED, value: "$(PLAIN)-$(MISSING)-$$(PLAIN)"}' \
        '    - {name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}' \
        '    - {name: DOOR, valueFrom: {secretKeyRef: {name: keys, key: door}}}' \
        '    - {name: NONE, valueFrom: {secretKeyRef: {name: keys, key: none, optional: true}}}' \
        '    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}' \
        '    - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory}}}' \
        '    envFrom: [{prefix: S_, configMapRef: {name: settings}}]' \
        '    resources: {limits: {memory: 32Mi}}'
    log=$(pod_log env)
    contains "$log" '^PLAIN=a b$'
    contains "$log" '^NESTED=a b-\$\(MISSING\)-\$\(PLAIN\)$'
    contains "$log" '^COLOR=blue$'
    contains "$log" '^DOOR=1234$'
    contains "$log" '^S_size=9$'
    contains "$log" '^LIMIT=33554432$'
    contains "$log" "^IP=$(field pod/env '{.status.podIP}')\$"
    contains "$log" '^KUBERNETES_SERVICE_HOST=10.96.0.1$'
    run ! grep '^NONE=' <<<"$log"
}

@test "volumes: emptyDir shared by two containers, configMap, secret, token, downward API" {
    K create configmap files --from-literal=a.txt=alpha
    K create secret generic door --from-literal=key=4321
    K apply -f - <<EOF
apiVersion: v1
kind: Pod
metadata: {name: volumes}
spec:
  restartPolicy: Never
  initContainers:
  - {name: first, image: $IMAGE, command: [sh, -c, 'echo one >/shared/order'], volumeMounts: [{name: shared, mountPath: /shared}]}
  - {name: second, image: $IMAGE, command: [sh, -c, 'echo two >>/shared/order'], volumeMounts: [{name: shared, mountPath: /shared}]}
  containers:
  - name: main
    image: $IMAGE
    command: [sh, -c, 'cat /shared/order /files/a.txt /door/key /down/name; echo; ls -l /door/..data/key; cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; echo; wc -c </var/run/secrets/kubernetes.io/serviceaccount/token; touch /files/x || echo readonly']
    volumeMounts:
    - {name: shared, mountPath: /shared}
    - {name: files, mountPath: /files}
    - {name: door, mountPath: /door}
    - {name: down, mountPath: /down}
  volumes:
  - {name: shared, emptyDir: {}}
  - {name: files, configMap: {name: files}}
  - {name: door, secret: {secretName: door, defaultMode: 0400}}
  - {name: down, downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}
EOF
    log=$(pod_log volumes)
    [ "$(head -n 2 <<<"$log" | tr '\n' ' ')" = "one two " ]
    contains "$log" 'alpha4321volumes'
    contains "$log" '^-r--------'
    contains "$log" '^default$'
    contains "$log" readonly
}

@test "logs, logs -f, previous; two lines of each stream" {
    pod talker "[sh, -c, 'echo out; echo err >&2; sleep 2; echo late']"
    eventually 30 bash -c "${IN_NS[*]} $KUBECTL logs talker | grep -q out"
    [ "$(K logs -f talker | sort | tr '\n' ' ')" = "err late out " ]
    [ "$(K logs talker --tail=1)" = late ]
    contains "$(K logs talker --timestamps --tail=1)" '^20[0-9-]+T[0-9:.]+Z late$'
    out=$(K logs talker --previous 2>&1) && return 1
    contains "$out" 'previous terminated container "main" in pod "talker" not found'
}

@test "exec: output, exit code, standard input, a terminal; cp" {
    KUBECTL=$(kubectl_since 31) # exec over WebSocket
    pod shell '[sleep, "3600"]'
    K wait --for=condition=Ready pod/shell --timeout=30s
    [ "$(K exec shell -- sh -c 'echo hi; echo no >&2' 2>/dev/null)" = hi ]
    status=0; K exec shell -- sh -c 'exit 7' || status=$?
    [ $status = 7 ]
    [ "$(echo some words | K exec -i shell -- wc -w | tr -d ' ')" = 2 ]
    out=$(K exec shell -- nonexistent 2>&1) && return 1
    contains "$out" 'nonexistent'
    contains "$(script -qec "nsenter --net=/run/netns/$NETNS $KUBECTL exec -it shell -- tty" /dev/null </dev/null)" '/dev/(pts/0|console)'
    echo payload >"$DIR/payload"
    K cp "$DIR/payload" shell:/tmp/payload
    [ "$(K exec shell -- cat /tmp/payload)" = payload ]
    K delete pod shell --now
}

@test "probes: readiness gates, liveness restarts" {
    RESTART=Always pod ready '[sh, -c, "sleep 2; touch /tmp/ok; sleep 3600"]' \
        '    readinessProbe: {exec: {command: [cat, /tmp/ok]}, periodSeconds: 1}'
    eventually 20 field_is pod/ready '{.status.phase}' Running
    field_is pod/ready '{.status.conditions[?(@.type=="Ready")].status}' False
    K wait --for=condition=Ready pod/ready --timeout=20s
    RESTART=Always pod sick '[sleep, "3600"]' \
        '    livenessProbe: {exec: {command: ["false"]}, periodSeconds: 1, failureThreshold: 1}'
    eventually 30 bash -c "[ \$(${IN_NS[*]} $KUBECTL get pod sick -o jsonpath='{.status.containerStatuses[0].restartCount}') -ge 1 ]"
    contains "$(K describe pod sick)" 'Liveness probe failed'
    K delete pod ready sick --now
}

@test "security context and limits" {
    K apply -f - <<EOF
apiVersion: v1
kind: Pod
metadata: {name: tight}
spec:
  restartPolicy: Never
  securityContext: {runAsUser: 1234, runAsGroup: 5678, fsGroup: 999}
  containers:
  - name: main
    image: $IMAGE
    command: [sh, -c, 'id; touch /x || echo rootfs is readonly; grep NoNewPrivs /proc/self/status; grep CapEff /proc/self/status; ls -ldn /data']
    securityContext: {readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, emptyDir: {}}]
EOF
    log=$(pod_log tight)
    contains "$log" 'uid=1234.*gid=5678.*999'
    contains "$log" 'rootfs is readonly'
    contains "$log" 'NoNewPrivs:.1'
    contains "$log" 'CapEff:.0000000000000000'
    contains "$log" '^d.* 999 '
    pod hog '[tail, "-c", "100m", /dev/zero]' '    resources: {limits: {memory: 16Mi}}'
    eventually 60 pod_ended hog
    field_is pod/hog '{.status.phase}' Failed
    contains "$(field pod/hog '{.status.containerStatuses[0].state.terminated.reason}')" '^OOMKilled$'
}

@test "what cannot start says why" {
    pod noimage '[x]'
    K delete pod noimage --now
    K run missing --image=127.0.0.1:1/none:1 --restart=Never
    eventually 30 bash -c "${IN_NS[*]} $KUBECTL get pod missing | grep -qE 'ErrImagePull|ImagePullBackOff'"
    contains "$(K describe pod missing)" 'Failed to pull image "127.0.0.1:1/none:1"'
    pod nocommand '[/no/such/program]'
    eventually 30 bash -c "${IN_NS[*]} $KUBECTL get pod nocommand -o yaml | grep -q '/no/such/program'"
    contains "$(K get pod nocommand -o jsonpath='{.status.containerStatuses[0].state}')" 'no such file'
    pod noconfig '["true"]' '    envFrom: [{configMapRef: {name: absent}}]'
    eventually 30 bash -c "${IN_NS[*]} $KUBECTL get pod noconfig | grep -q CreateContainerConfigError"
    contains "$(K describe pod noconfig)" 'configmap "absent" not found'
    pod toobig '["true"]' '    resources: {requests: {cpu: "1000"}}'
    eventually 30 bash -c "${IN_NS[*]} $KUBECTL describe pod toobig | grep -q 'Insufficient cpu'"
    contains "$(K describe pod toobig)" '0/1 nodes are available: 1 Insufficient cpu'
    K delete pod missing nocommand noconfig toobig --now
}
