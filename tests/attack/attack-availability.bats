#!/usr/bin/env bats
# The case attack-availability: what anyone on the network, or a user who may do little, can take from the others.
# Numbers in the names are the case's. Each attack stands while others are served, and the memory stays bounded.

load lib

setup_file() {
    attack_server_start
    weak_user weak create configmaps
    weak_user reader list configmaps
    # A list of 16 MB.
    local i filler
    filler=$(head -c 900000 /dev/zero | tr '\0' x)
    for i in $(seq 18); do
        printf '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"filler-%d"},"data":{"f":"%s"}}\n' "$i" "$filler"
    done >"$DIR/fillers.json"
    K create -f "$DIR/fillers.json" >/dev/null
}
teardown_file() { attack_server_stop; }
setup() { peak_reset; }

LIST=/api/v1/namespaces/default/configmaps

@test "7: a reader that takes nothing of a large list (cut below)" {
    attack reader --http1 --silent --path "$LIST" --token-file "$DIR/reader.token" --seconds 42
    attack reader2 --window 0 --streams 20 --path "$LIST" --token-file "$DIR/reader.token" --seconds 42
    served_meanwhile
    peak_below 160
}

@test "1: answers that are not read" {
    attack unread --connections 3 --streams 250 --window 0 --path /version --seconds 42
    served_meanwhile
    attack unread-silent --connections 3 --streams 250 --window 0 --silent --path /version --seconds 42
    served_meanwhile
    peak_below 160
}

@test "1: bodies that never come, over HTTP/2 and HTTP/1.1" {
    attack posts2 --connections 3 --streams 250 --method POST --length 1000 --path "$LIST"
    attack posts1 --connections 650 --http1 --method POST --length 1000 --path "$LIST"
    served_meanwhile
    attack_over posts2
    [ "$(outcome posts2 answered)" -ge 750 ] # 403, from the head
    attack_over posts1
    [ "$(outcome posts1 answered)" -ge 600 ]
    # The same by a user who may: 408 comes in time, and nobody waits for that.
    attack posts3 --connections 3 --streams 250 --method POST --length 1000 --path "$LIST" --token-file "$DIR/weak.token"
    served_meanwhile
    attack_over posts3
    peak_below 192
}

@test "2: bodies of strangers are not kept, those of users within a share" {
    attack bodies --connections 590 --http1 --method POST --path "$LIST" --length 3000000 --body 500000 --trickle 15
    served_meanwhile
    peak_below 192
    attack_over bodies
    [ "$(outcome bodies closed)" -ge 500 ]
    attack bodies2 --connections 60 --http1 --method POST --path "$LIST" --length 3000000 --body 2900000 --trickle 15 \
        --token-file "$DIR/weak.token"
    served_meanwhile
    attack_over bodies2
    [ "$(outcome bodies2 answered)" -ge 20 ] # 429
    peak_below 192
}

@test "5: a grant of 15 million combinations in one small rule" {
    weak_user granter create roles.rbac.authorization.k8s.io
    local words verbs
    words=$(seq -f '"w%g"' -s, 250)
    verbs=$(seq -f '"v%g"' -s, 250)
    printf '{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"all"},"rules":[{"apiGroups":[%s],"resources":[%s],"verbs":[%s]}]}' \
        "$words" "$words" "$verbs" >"$DIR/grant.json"
    local answer
    for _ in $(seq 20); do
        answer=$(curl -sk --max-time 5 -o "$DIR/refusal" -w '%{http_code} %{size_download}' -H "Authorization: Bearer $(cat "$DIR/granter.token")" \
            -H 'Content-Type: application/json' --data-binary @"$DIR/grant.json" \
            "https://127.0.0.1:$PORT/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles")
        [ "${answer% *}" = 403 ]
        [ "${answer#* }" -lt 16000 ]
    done
    grep -q 'is attempting to grant RBAC permissions not currently held' "$DIR/refusal"
    served_meanwhile
    peak_below 160
}

@test "4: OpenAPI that is not read, and the memory afterwards" {
    attack openapi --connections 6 --streams 240 --window 0 --path /openapi/v2 --token-file "$DIR/weak.token"
    served_meanwhile
    peak_below 160
    attack_over openapi
    eventually 20 now_below 128
}

@test "connections: the newest stranger is served, whoever holds the others" {
    attack idle --connections 800 --streams 0
    served_meanwhile
    attack_over idle
    [ "$(outcome idle closed)" -ge 200 ]
    peak_below 160
}

@test "7, 1: who took nothing has been cut, within tens of seconds" {
    local name
    for name in reader reader2 unread unread-silent; do eventually 60 grep -q "^connections" "$DIR/$name.attack"; done
    cat "$DIR"/*.attack
    [ "$(outcome reader closed)" = 1 ]
    [ "$(outcome reader last)" -le 45 ]
    [ "$(outcome reader2 reset)" = 20 ]
    [ "$(outcome reader2 last)" -le 45 ]
    # Cut before all resets were said, on a quick machine: gone all the same.
    [ "$(outcome unread closed)" = 3 ] || [ "$(outcome unread reset)" = 750 ]
    [ "$(outcome unread last)" -le 45 ]
    [ "$(outcome unread-silent closed)" -le 3 ]
}
