#!/bin/sh
# make-image.sh OUT.tar NAME:TAG [DIR]: a docker-archive with one layer, for tests without a network.
# Without DIR the layer is a busybox root filesystem (package busybox-static); with it, DIR's content
# is laid over that. Environment: CMD (JSON array, default ["sh"]), ENTRYPOINT, USER_NAME, STOPSIGNAL.
set -eu

[ $# -ge 2 ] || { echo "usage: $0 OUT.tar NAME:TAG [DIR]" >&2; exit 2; }
out=$1 name=$2 extra=${3:-}
busybox=$(command -v busybox || true)
for candidate in /bin/busybox /usr/bin/busybox; do
    [ -x "$candidate" ] && busybox=$candidate
done
[ -n "$busybox" ] || { echo "$0: busybox is missing: apt-get install busybox-static" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/root/bin" "$work/root/etc" "$work/root/tmp" "$work/root/root" "$work/root/home" \
    "$work/root/var" "$work/root/dev" "$work/root/proc" "$work/root/sys" "$work/image"
chmod 1777 "$work/root/tmp"
chmod 700 "$work/root/root"
cp "$busybox" "$work/root/bin/busybox"
for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || ln "$work/root/bin/busybox" "$work/root/bin/$applet" 2>/dev/null || :
done
cat >"$work/root/etc/passwd" <<'EOF'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
web:x:1000:1001:web:/home:/bin/sh
EOF
cat >"$work/root/etc/group" <<'EOF'
root:x:0:
daemon:x:1:
audio:x:29:web
web:x:1001:
nogroup:x:65534:
EOF
[ -z "$extra" ] || cp -a "$extra/." "$work/root/"

tar -C "$work/root" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 \
    -cf "$work/image/layer.tar" .
diff=$(sha256sum "$work/image/layer.tar" | cut -d' ' -f1)
arch=$(uname -m)
case $arch in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; esac
cat >"$work/image/config.json" <<EOF
{"architecture":"$arch","os":"linux","config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"Cmd":${CMD:-[\"sh\"]}${ENTRYPOINT:+,\"Entrypoint\":$ENTRYPOINT}${USER_NAME:+,\"User\":\"$USER_NAME\"}${STOPSIGNAL:+,\"StopSignal\":\"$STOPSIGNAL\"}},"rootfs":{"type":"layers","diff_ids":["sha256:$diff"]},"history":[{"created_by":"make-image.sh"}]}
EOF
cat >"$work/image/manifest.json" <<EOF
[{"Config":"config.json","RepoTags":["$name"],"Layers":["layer.tar"]}]
EOF
tar -C "$work/image" --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$out.new" \
    layer.tar config.json manifest.json
mv "$out.new" "$out"
