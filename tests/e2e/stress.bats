#!/usr/bin/env bats
# Too much at once, and death at any moment: what was acknowledged stays, nothing is left behind, nobody spins.
# CORACLE_TEST_FULL=1 makes it long.
load ../lib/node

if [ -n "${CORACLE_TEST_FULL:-}" ]; then
    KILLS=20 PODS=100 SERVICES=300 CYCLES=10000
else
    KILLS=5 PODS=40 SERVICES=60 CYCLES=500
fi

setup_file() { node_start; }
teardown_file() { node_stop; }
setup() { node_namespace_again; }

start_again() { server_run --node-name node-1; }
server_pid() { cat "$DIR/pid"; }
memory_kb() { awk '/VmRSS/ {print $2}' "/proc/$(server_pid)/status"; }
ticks() { awk '{print $14 + $15}' "/proc/$(server_pid)/stat"; }

# quiet SECONDS LIMIT: the server uses less CPU than LIMIT ticks (10 ms each) in that time.
quiet() {
    local before used
    before=$(ticks)
    read -r -t "$1" <> <(:) || true # the time is what is measured
    used=$(($(ticks) - before))
    [ "$used" -le "$2" ] || { echo "$used ticks in $1 s"; return 1; }
}

# api CURL-ARGUMENTS...: as the administrator.
api() {
    "${IN_NS[@]}" curl -sk --max-time 120 --cert "$DIR/data/pki/admin.crt" --key "$DIR/data/pki/admin.key" \
        -H 'Content-Type: application/json' "$@"
}
URL() { echo "https://127.0.0.1:$PORT$1"; }

many_pods() { # NAME-PREFIX COUNT
    for i in $(seq "$2"); do
        cat <<POD
---
apiVersion: v1
kind: Pod
metadata: {name: $1-$i, labels: {app: $1}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: $IMAGE, command: [sh, -c, 'echo started; sleep 3600'], ports: [{containerPort: 80}]}
POD
    done | K apply -f - >/dev/null
}
running() { [ "$(K get pods -l "app=$1" --field-selector status.phase=Running -o name | wc -l)" = "$2" ]; }
no_pods() { [ -z "$(K get pods -o name)" ]; }

nothing_left() {
    if grep "$DIR/data/containers\|$DIR/state/ns\|$DIR/state/sandboxes" /proc/mounts; then return 1; fi
    [ -z "$(ls "$DIR/state/ns" "$DIR/state/sandboxes" "$DIR/state/containers" 2>/dev/null | grep -v ':$' | grep .)" ]
    [ -z "$(ls "$DIR/data/network/addresses")" ]
    [ "$(ls "$DIR/data/pods")" = memory ]
    if ip -n "$NETNS" link | grep ' cora'; then return 1; fi
}

@test "idle: no CPU" {
    K wait --for=condition=Ready node/node-1 --timeout=30s
    eventually 20 quiet 3 1
}

@test "many pods at once, many Services over them, then none; the node stays ready and gets quiet" {
    many_pods crowd $PODS
    eventually 60 running crowd $PODS
    for i in $(seq $SERVICES); do
        printf -- '---\napiVersion: v1\nkind: Service\nmetadata: {name: crowd-%d, labels: {app: crowd}}\nspec: {selector: {app: crowd}, ports: [{port: 80}]}\n' "$i"
    done | K apply -f - >/dev/null
    endpoints_complete() {
        [ "$(K get endpointslices -l app=crowd -o jsonpath='{range .items[*]}{range .endpoints[*]}x{end}{end}' | wc -c)" = $((PODS * SERVICES)) ]
    }
    eventually 60 endpoints_complete
    eventually 20 quiet 2 10
    field_is node/node-1 '{.status.conditions[?(@.type=="Ready")].status}' True
    K delete pods -l app=crowd --wait=false >/dev/null
    eventually 60 no_pods
    K delete services -l app=crowd >/dev/null
    eventually 20 quiet 2 10
    eventually 20 nothing_left
}

@test "kill -9 while pods come, go and roll: nothing acknowledged is lost, nothing runs twice, nothing stays" {
    K create deployment roll --image=$IMAGE --replicas=4 -- sh -c 'trap exit TERM; sleep 3600 & wait'
    for round in $(seq $KILLS); do
        (
            for i in 1 2 3 4; do
                pod "once-$round-$i" "[sh, -c, 'echo started; sleep 3600']" && echo "once-$round-$i" >>"$DIR/acknowledged"
            done
        ) >/dev/null 2>&1 3>&- 4>&- &
        (
            for i in $(seq 20); do
                body="{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"kept-$round-$i\"}}"
                code=$(api -o /dev/null -w '%{http_code}' -d "$body" "$(URL /api/v1/namespaces/default/configmaps)")
                [ "$code" = 201 ] && echo "kept-$round-$i" >>"$DIR/kept"
            done
        ) >/dev/null 2>&1 3>&- 4>&- &
        K set env deployment/roll "ROUND=$round" >/dev/null 2>&1 3>&- 4>&- || true
        read -r -t "0.$((RANDOM % 9 + 1))" <> <(:) || true # a random moment
        server_kill KILL
        start_again
    done
    K wait --for=condition=Ready node/node-1 --timeout=30s
    K rollout status deployment/roll --timeout=60s
    sort -u "$DIR/acknowledged" >"$DIR/want"
    [ -s "$DIR/want" ]
    K get pods -o name | sed -n 's,^pod/\(once-\),\1,p' | sort >"$DIR/have"
    [ -z "$(comm -23 "$DIR/want" "$DIR/have")" ]
    sort -u "$DIR/kept" >"$DIR/want"
    [ -s "$DIR/want" ]
    K get configmaps -o name | sed -n 's,^configmap/\(kept-\),\1,p' | sort >"$DIR/names"
    [ -z "$(comm -23 "$DIR/want" "$DIR/names")" ]
    while read -r name; do
        eventually 30 field_is "pod/$name" '{.status.phase}' Running
        field_is "pod/$name" '{.status.containerStatuses[0].restartCount}' 0
        [ "$(K logs "$name" | grep -c started)" = 1 ]
    done <"$DIR/have"
    K delete deployment roll
    K delete pods --all --grace-period=1 --wait=false >/dev/null
    eventually 60 no_pods
    eventually 20 nothing_left
}

supervisor_pid() { cat "$DIR/state/supervisor.lock"; }
supervisor_is_another() { [ -n "$(supervisor_pid)" ] && [ "$(supervisor_pid)" != "$1" ]; }

@test "kill -9 of the supervisor: containers and their logs go on, a later end is seen" {
    RESTART=Always pod steady "[sh, -c, 'i=0; while true; do i=\$((i+1)); echo \$i; sleep 0.2; done']"
    K wait --for=condition=Ready pod/steady --timeout=30s
    id=$(field pod/steady '{.status.containerStatuses[0].containerID}')
    old=$(supervisor_pid)
    kill -KILL "$old"
    eventually 20 supervisor_is_another "$old"
    lines=$(K logs steady | wc -l)
    eventually 20 bash -c "[ \$(${IN_NS[*]} $KUBECTL logs steady | wc -l) -gt $((lines + 3)) ]"
    field_is pod/steady '{.status.containerStatuses[0].containerID}' "$id"
    kill -KILL "$(cut -d' ' -f1 "$DIR/state/containers/${id#oci://}/pid")"
    eventually 20 field_is pod/steady '{.status.containerStatuses[0].restartCount}' 1
    field_is pod/steady '{.status.containerStatuses[0].lastState.terminated.exitCode}' 137
    K delete pod steady --grace-period=1
}

@test "connections that say half of something cost nothing, and the server answers beside them" {
    "${IN_NS[@]}" bash -c '
        for i in $(seq 100); do
            exec {a}<>/dev/tcp/127.0.0.1/$0 {b}<>/dev/tcp/127.0.0.1/$0
            printf "\x16\x03\x01" >&$a # the first bytes of a ClientHello
        done
        touch "$1/open"
        until [ -e "$1/shut" ]; do read -r -t 0.1 <> <(:) || true; done' "$PORT" "$DIR" 3>&- 4>&- &
    eventually 20 test -e "$DIR/open"
    [ "$(ls "/proc/$(server_pid)/fd" | wc -l)" -gt 200 ]
    quiet 2 5
    [ "$(K get --raw /readyz)" = ok ]
    touch "$DIR/shut"
    wait $!
}

@test "objects that come and go leave no memory behind; a namespace of many objects goes at once" {
    request() { # METHOD PATH [more lines of curl's configuration]: `next` forgets all that was said before
        printf '%s\n' next insecure "cert=$DIR/data/pki/admin.crt" "key=$DIR/data/pki/admin.key" output=/dev/null \
            'write-out="%{http_code}\n"' "request=$1" "url=$(URL "$2")" "${@:3}"
    }
    cycles() {
        for i in $(seq "$1"); do
            body='{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"cycle"},"data":{"k":"'$(printf '%0900d' "$i")'"}}'
            request POST /api/v1/namespaces/default/configmaps 'header="Content-Type: application/json"' "data=\"${body//\"/\\\"}\""
            request DELETE /api/v1/namespaces/default/configmaps/cycle
        done | tail -n +2 >"$DIR/requests"
        "${IN_NS[@]}" curl -s -K "$DIR/requests" >"$DIR/codes"
        [ "$(sort "$DIR/codes" | uniq -c | awk '{printf "%s:%s ", $2, $1}')" = "200:$1 201:$1 " ]
    }
    cycles 100
    before=$(memory_kb)
    cycles $CYCLES
    # The watch cache keeps the last five minutes, bounded (a kilobyte and a half for each of at most 16,384 events).
    limit=$((CYCLES * 2 < 16384 ? CYCLES * 5 : 50000))
    [ $(($(memory_kb) - before)) -lt $((limit + 8000)) ]
    K create namespace crowded
    for i in $(seq 1000); do printf -- '---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: m-%d}\n' "$i"; done >"$DIR/many.yaml"
    K -n crowded create -f "$DIR/many.yaml" --validate=false >/dev/null
    K delete namespace crowded --timeout=30s
}

@test "out of file descriptors: new connections wait, the open ones are served, no spin" {
    port=$(free_port)
    (
        ulimit -n 64
        exec "${IN_NS[@]}" "$CORACLE" server --data-dir "$DIR/few" --state-dir "$DIR/few-state" --port "$port" --trace-port 0 --without node,network
    ) >"$DIR/few.log" 2>&1 3>&- 4>&- &
    few=$!
    eventually 20 "${IN_NS[@]}" curl -fsk "https://127.0.0.1:$port/readyz"
    "${IN_NS[@]}" bash -c '
        for i in $(seq 150); do exec {a}<>/dev/tcp/127.0.0.1/$0; done
        touch "$1/few-open"
        until [ -e "$1/few-shut" ]; do read -r -t 0.1 <> <(:) || true; done' "$port" "$DIR" 3>&- 4>&- &
    crowd=$!
    eventually 20 test -e "$DIR/few-open"
    before=$(awk '{print $14 + $15}' "/proc/$few/stat")
    read -r -t 2 <> <(:) || true # the time is what is measured
    [ $(($(awk '{print $14 + $15}' "/proc/$few/stat") - before)) -le 10 ]
    touch "$DIR/few-shut"
    wait $crowd
    eventually 20 "${IN_NS[@]}" curl -fsk "https://127.0.0.1:$port/readyz"
    kill $few
    wait $few
}

@test "a full disk: an import leaves nothing, a pod says why and comes up once there is room" {
    mkdir -p "$DIR/small/data" "$DIR/fat/opt"
    server_kill TERM
    mount -t tmpfs -o size=24m tmpfs "$DIR/small/data"
    data=$DIR/data && mv "$data" "$DIR/large" && mkdir "$data" && mount --move "$DIR/small/data" "$data"
    start_again
    "$CORACLE" image import --data-dir "$data" "$DIR/hello.tar"
    K wait --for=condition=Ready node/node-1 --timeout=30s
    head -c 40000000 /dev/urandom >"$DIR/fat/opt/x"
    "$PROJECT/tests/lib/make-image.sh" "$DIR/fat.tar" localhost/fat:1 "$DIR/fat"
    find "$data" -type f | grep -v /store/ | sort >"$DIR/before"
    status=0
    out=$("$CORACLE" image import --data-dir "$data" "$DIR/fat.tar" 2>&1) || status=$?
    [ $status = 1 ]
    contains "$out" 'no space left on device|No space left on device'
    find "$data" -type f | grep -v /store/ | sort | diff "$DIR/before" -
    pod late "[sh, -c, 'echo started; sleep 3600']"
    K wait --for=condition=Ready pod/late --timeout=30s
    K delete pod late --grace-period=1
    dd if=/dev/zero of="$data/fill" bs=1k 2>/dev/null || true
    pod late "[sh, -c, 'echo started; sleep 3600']"
    eventually 20 bash -c "${IN_NS[*]} $KUBECTL describe pod late | grep -q 'No space left on device'"
    rm "$data/fill"
    K wait --for=condition=Ready pod/late --timeout=40s
    K delete pod late --grace-period=1
    eventually 20 nothing_left
    server_kill TERM
    "${IN_NS[@]}" "$CORACLE" reset --data-dir "$data" --state-dir "$DIR/state" --log-dir "$DIR/logs"
    umount "$data"
    rmdir "$data"
    mv "$DIR/large" "$data"
    start_again
}
