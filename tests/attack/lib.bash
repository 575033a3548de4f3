# For the cases of tests/attack: a real server, attacks against it in the background, and what others still get.
#
#   attack NAME FLAG...     starts tests/attack/attacker.c with these flags; waits until it stands
#   attack_over NAME        ends it; its summary is the answer
#   served_meanwhile        /readyz and an administrator's GET: 200 each time, the median below 0.2 s
#   peak_below MB           of the server's memory since the last peak_reset (VmHWM)
#   weak_user NAME VERB RESOURCE   a ServiceAccount that may do this one thing in the namespace default;
#                           its token is in $DIR/NAME.token
# shellcheck shell=bash
. "$(dirname "${BASH_SOURCE[0]}")/../lib/common.bash"

ATTACKER=${ATTACKER:-$PROJECT/build/attacker}

attack_server_start() {
    server_start --without node,network
    local field
    for field in certificate key; do
        sed -n "s/^ *client-$field-data: *//p" "$DIR/data/admin.kubeconfig" | base64 -d >"$DIR/admin.$field"
        [ -s "$DIR/admin.$field" ]
    done
}

attack_server_stop() {
    local f
    for f in "$DIR"/*.attack.pid; do [ ! -e "$f" ] || kill "$(cat "$f")" 2>/dev/null || true; done
    server_stop
}

attack() { # NAME FLAG...
    local name=$1
    shift
    "$ATTACKER" --port "$PORT" "$@" >"$DIR/$name.attack" 2>&1 3>&- 4>&- &
    echo $! >"$DIR/$name.attack.pid"
    eventually 60 grep -q standing "$DIR/$name.attack"
}

attack_over() { # NAME
    local pid
    pid=$(cat "$DIR/$1.attack.pid")
    kill -TERM "$pid" 2>/dev/null || true
    eventually 20 grep -q '^connections' "$DIR/$1.attack"
    rm -f "$DIR/$1.attack.pid"
    grep '^connections' "$DIR/$1.attack"
}

# outcome NAME WORD: a number of the summary ("closed", "reset", "first" …).
outcome() {
    awk -v word="$2" '/^connections/ { for (i = 1; i < NF; i++) if ($i == word) print $(i + 1) }' "$DIR/$1.attack"
}

admin_get() { # PATH CURL-FLAG...
    local path=$1
    shift
    curl -sk --max-time 20 --cert "$DIR/admin.certificate" --key "$DIR/admin.key" "$@" "https://127.0.0.1:$PORT$path"
}

# Each of nine answered with 200, the median in less than 0.2 s: a machine that is busy with something else makes
# single ones slow, a server that lets others wait makes all of them slow.
quick() { # WHAT COMMAND...
    local what=$1 i out times=""
    shift
    for i in 1 2 3 4 5 6 7 8 9; do
        out=$("$@" -o /dev/null -w '%{http_code} %{time_total}') || { echo "$what: no answer: $out"; return 1; }
        [ "${out% *}" = 200 ] || { echo "$what: $out"; return 1; }
        times+="${out#* }"$'\n'
    done
    printf '%s' "$times" | sort -n | awk -v what="$what" '
        { t[NR] = $1 }
        END { printf "%s: median %s s, slowest %s s\n", what, t[5], t[9]; exit !(t[5] < 0.2) }'
}

served_meanwhile() {
    quick readyz curl -sk --max-time 20 "https://127.0.0.1:$PORT/readyz"
    quick version curl -sk --max-time 20 "https://127.0.0.1:$PORT/version"
    quick "an administrator's GET" admin_get /api/v1/namespaces/default
}

memory_mb() { # VmHWM | VmRSS
    awk -v field="$1:" '$1 == field { print int($2 / 1024) }' "/proc/$(cat "$DIR/pid")/status"
}

peak_reset() { echo 5 >"/proc/$(cat "$DIR/pid")/clear_refs"; }

peak_below() { # MB
    local peak
    peak=$(memory_mb VmHWM)
    echo "peak $peak MB (at most $1), now $(memory_mb VmRSS) MB"
    [ "$peak" -le "$1" ]
}

now_below() { [ "$(memory_mb VmRSS)" -le "$1" ]; } # MB

weak_user() { # NAME VERB RESOURCE
    K create serviceaccount "$1"
    K create role "$1" --verb="$2" --resource="$3"
    K create rolebinding "$1" --role="$1" --serviceaccount="default:$1"
    K create token "$1" >"$DIR/$1.token"
}
