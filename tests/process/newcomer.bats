#!/usr/bin/env bats
# What a newcomer on a fresh machine meets: the tests bring their own clients, and a wrong credential is told apart from none.
load ../lib/common

setup_file() { server_start --without node,network; }
teardown_file() { server_stop; }

status() { curl -sk --max-time 20 -o "$DIR/body" -w '%{http_code}' "$@"; }

@test "newcomer: a released kubectl of a current version is here" {
    k=$(kubectl_since 31)
    contains "$("$k" version --client --output=json)" "\"gitVersion\": \"v1\\.${k##*.}\\."
    run ! kubectl_since 99
    contains "$output" 'run scripts/test, which installs one'
}

@test "newcomer: health and version serve who brings no credential, and refuse who brings a wrong one" {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /O=system:masters/CN=admin \
        -keyout "$DIR/foreign.key" -out "$DIR/foreign.crt" 2>/dev/null
    for path in /readyz /livez /healthz /version; do
        [ "$(status "https://127.0.0.1:$PORT$path")" = 200 ]
        [ "$(status -H 'Authorization: Bearer wrong' "https://127.0.0.1:$PORT$path")" = 401 ]
        contains "$(cat "$DIR/body")" '"reason": ?"Unauthorized"'
        # A certificate of a foreign CA does not even get through the handshake.
        run ! curl -sSk --cert "$DIR/foreign.crt" --key "$DIR/foreign.key" "https://127.0.0.1:$PORT$path"
        contains "$output" 'alert unknown ca'
    done
}
