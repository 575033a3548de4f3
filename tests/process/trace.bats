#!/usr/bin/env bats
# Tracing over HTTP as reporters and the page use it: the original's replies, what is found after kill -9, what is refused.
load ../lib/common

setup_file() {
    export TRACE_PORT
    TRACE_PORT=$(free_port)
    server_start --without node,network
}
teardown_file() { server_stop; }

Z() { # METHOD PATH [curl arguments]: the body, then the status on a line
    local method=$1 path=$2
    shift 2
    curl -s --max-time 20 -X "$method" -w '\n%{http_code}\n' "$@" "http://127.0.0.1:$TRACE_PORT$path"
}
code() { tail -n 1 <<<"$1"; }
body() { head -n -1 <<<"$1"; }
NOW=$(date +%s)
span() { # TRACE ID PARENT KIND SERVICE NAME [more]; no parent: ""
    local parent=${3:+\"$3\"}
    printf '{"traceId":"%s","id":"%s","parentId":%s,"kind":"%s","name":"%s","timestamp":%s000000,"duration":1000,"localEndpoint":{"serviceName":"%s"}%s}' \
        "$1" "$2" "${parent:-null}" "$4" "$6" "$NOW" "$5" "${7:-}"
}

@test "spans are taken, plain and gzipped, and found" {
    spans="[$(span aa 1 "" CLIENT Gateway 'GET /Users'),$(span aa 2 1 SERVER users get ',"tags":{"http.path":"/users","error":""}')]"
    out=$(Z POST /api/v2/spans -H 'Content-Type: application/json' -d "$spans")
    [ "$(code "$out")" = 202 ]
    [ -z "$(body "$out")" ]
    spans="[$(span bb 1 "" SERVER users put)]"
    out=$(gzip <<<"$spans" | Z POST /zipkin/api/v2/spans -H 'Content-Encoding: gzip' --data-binary @-)
    [ "$(code "$out")" = 202 ]
    for empty in '' '[]'; do [ "$(code "$(Z POST /api/v2/spans -d "$empty")")" = 202 ]; done
    [ "$(body "$(Z GET /api/v2/services)")" = '["gateway","users"]' ]
    [ "$(body "$(Z GET '/api/v2/spans?serviceName=USERS')")" = '["get","put"]' ]
    [ "$(body "$(Z GET '/api/v2/remoteServices?serviceName=users')")" = '[]' ]
    out=$(Z GET /api/v2/trace/AA)
    [ "$(code "$out")" = 200 ]
    contains "$out" '"traceId":"00000000000000aa","parentId":"0000000000000001","id":"0000000000000002","kind":"SERVER","name":"get"'
    [ "$(Z GET '/api/v2/traces?serviceName=users&annotationQuery=error%20and%20http.path%3D/users' | head -n 1 | jq -c '[.[] | length]')" = '[2]' ]
    [ "$(Z GET '/api/v2/traces?spanName=put' | head -n 1 | jq -c '[.[][].traceId]')" = '["00000000000000bb"]' ]
    [ "$(body "$(Z GET '/api/v2/traces?spanName=nothing')")" = '[]' ]
    [ "$(Z GET '/api/v2/traceMany?traceIds=aa,bb,cc' | head -n 1 | jq -c '[.[] | length]')" = '[2,1]' ]
    [ "$(body "$(Z GET "/api/v2/dependencies?endTs=$((NOW + 60))000")")" = '[{"parent":"gateway","child":"users","callCount":1,"errorCount":1}]' ]
}

@test "a list is for the client's cache once there are more than three services" {
    out=$(curl -si "http://127.0.0.1:$TRACE_PORT/api/v2/services")
    run ! grep -qi '^cache-control' <<<"$out"
    [ "$(code "$(Z POST /api/v2/spans -d "[$(span cc 1 "" SERVER three a),$(span cc 2 1 SERVER four b)]")")" = 202 ]
    out=$(curl -si "http://127.0.0.1:$TRACE_PORT/api/v2/services")
    contains "$out" '[Cc]ache-[Cc]ontrol: max-age=300, must-revalidate'
}

@test "what is wrong is refused in the original's words" {
    while IFS='|' read -r want path text; do
        out=$(Z GET "$path")
        [ "$(code "$out")" = "$want" ] || { echo "$path: $out"; return 1; }
        contains "$(body "$out")" "$text" || { echo "$path: $out"; return 1; }
    done <<'END'
404|/api/v2/trace/dead|dead not found
400|/api/v2/trace/xyz|xyz should be lower-hex encoded with no prefix
400|/api/v2/traceMany|traceIds parameter is empty
400|/api/v2/traceMany?traceIds=aa|Use /api/v2/trace/.traceId. endpoint to retrieve a single trace
400|/api/v2/traceMany?traceIds=aa,00aa|redundant trace ID: 00aa
400|/api/v2/traces?limit=0|limit <= 0
400|/api/v2/traces?endTs=0|endTs <= 0
400|/api/v2/traces?lookback=-1|lookback <= 0
400|/api/v2/traces?maxDuration=1|maxDuration is only valid with minDuration
400|/api/v2/traces?minDuration=2&maxDuration=1|maxDuration < minDuration
400|/api/v2/spans|serviceName
400|/api/v2/dependencies|endTs
404|/api/v3/nothing|
404|/api/v2/spans/x|
END
}

@test "lists that are none are refused, and nothing of them is kept" {
    before=$(curl -s "http://127.0.0.1:$TRACE_PORT/metrics" | jq '."counter.zipkin_collector.spans.http"')
    for bad in '{' 'hello' '[{"traceId":"1"}]' "[$(span dd 1 "" SERVER s n),{\"id\":\"2\"}]" '[{"traceId":"1","id":"1","annotations":[],"binaryAnnotations":[]}]'; do
        out=$(Z POST /api/v2/spans -d "$bad")
        [ "$(code "$out")" = 400 ] || { echo "$bad: $out"; return 1; }
    done
    contains "$out" 'Expected a JSON_V2 encoded list, but received: JSON_V1'
    [ "$(code "$(Z GET /api/v2/trace/dd)")" = 404 ]
    after=$(curl -s "http://127.0.0.1:$TRACE_PORT/metrics" | jq '."counter.zipkin_collector.spans.http"')
    [ "$before" = "$after" ]
}

@test "what was acknowledged is found after kill -9" {
    for i in $(seq 100 150); do
        [ "$(code "$(Z POST /api/v2/spans -d "[$(span "f$i" 1 "" SERVER killed n)]")")" = 202 ]
    done
    kill -9 "$(cat "$DIR/pid")"
    server_run --without node,network
    for i in $(seq 100 150); do [ "$(code "$(Z GET "/api/v2/trace/f$i")")" = 200 ]; done
    [ "$(code "$(Z GET /api/v2/trace/aa)")" = 200 ]
    contains "$(Z GET '/api/v2/services')" '"killed"'
}

@test "health, info, configuration, metrics" {
    contains "$(Z GET /health)" '^{"status":"UP","zipkin":'
    contains "$(Z GET /zipkin/config.json)" '"defaultLookback":900000'
    contains "$(Z GET /info)" '"version"'
    contains "$(Z GET /prometheus)" 'zipkin_collector_spans_total.transport="http". [0-9]'
    [ "$(body "$(Z GET /api/v2/autocompleteKeys)")" = '[]' ]
}
