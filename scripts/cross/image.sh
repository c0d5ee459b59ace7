#!/usr/bin/env bash
# Builds the image of Dockerfile.scratch with docker, podman or buildah, whichever works here.
#
#   scripts/cross/image.sh build [ARCH]    for x86_64, aarch64 or armv7 (this machine's); prints its name
#   scripts/cross/image.sh test            builds it for each program in dist/, takes it apart and runs it
#
# Environment:
#   IMAGE           the image's name (zemi:VERSION)
#   IMAGE_ENGINE    docker, podman or buildah, instead of the first that works
#
# The test needs root, for chroot.

set -euo pipefail
umask 022
export LC_ALL=C

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=scripts/cross/common.sh
. scripts/cross/common.sh
# shellcheck source=scripts/cross/qemu.sh
. scripts/cross/qemu.sh

# Sets arch, and platform, which is Docker's name of it, and its variant.
platform_of() {
    case $1 in
        x86_64) arch=x86_64 platform=linux/amd64 ;;
        aarch64 | arm64) arch=aarch64 platform=linux/arm64 ;;
        armv7 | armv7l) arch=armv7 platform=linux/arm/v7 ;;
        *) die "expected an architecture of ${archs[*]}, found \`$1\`" ;;
    esac
}

# A client without an engine behind it is of no use.
choose_engine() {
    engine=${IMAGE_ENGINE:-}
    [ -z "$engine" ] || return 0
    if has docker && timeout 20 docker info >/dev/null 2>&1; then
        engine=docker
    elif has podman && timeout 20 podman info >/dev/null 2>&1; then
        engine=podman
    elif has buildah; then
        engine=buildah
    else
        die "no engine of docker or podman answers and there is no buildah" \
            "(Debian: apt-get install buildah, which needs no engine)"
    fi
}

# Buildah needs neither a kernel's overlays nor namespaces for an image that runs nothing.
engine() {
    case $engine in
        buildah) buildah --storage-driver vfs ${store:+--root "$store"} "$@" ;;
        *) "$engine" "$@" ;;
    esac
}

# Builds NAME for ARCH.
build() {
    local options=(-f Dockerfile.scratch -t "$1" --label "org.opencontainers.image.version=$version")
    local arch
    platform_of "$2"
    if [ -f "dist/zemi-$arch-linux" ]; then
        note "taking dist/zemi-$arch-linux of $(date -r "dist/zemi-$arch-linux" '+%F %T')"
    else
        scripts/cross/cross.sh "$arch"
    fi
    local plain=${platform#linux/}
    case $engine in
        buildah) options+=(--isolation chroot --format docker --platform "$platform") ;;
        # A health check is part of docker's format only.
        podman) options+=(--format docker --platform "$platform") ;;
        docker) options+=(--platform "$platform" --build-arg "TARGETARCH=${plain%/*}") ;;
    esac
    engine build -q "${options[@]}" . >&2
}

# Saves NAME as docker saves images.
save() {
    case $engine in
        buildah) engine push -q "$1" "docker-archive:$2:$1" >&2 ;;
        podman) engine save -q --format docker-archive -o "$2" "$1" >&2 ;;
        docker) engine save -o "$2" "$1" >&2 ;;
    esac
}

# Fails with WHAT unless the image's configuration holds the text.
holds() {
    grep -qF -- "$1" <<<"$config" || die "the image says nothing of $1: $config"
}

test_image() {
    local arch=$1 name=localhost/zemi-test:$1 at=$work/$1 found layers layer packed run=()
    build "$name" "$arch"
    mkdir -p "$at/parts" "$at/root"
    save "$name" "$at/image.tar"
    tar -xf "$at/image.tar" -C "$at/parts"
    layers=$(python3 -c 'import json, sys
print("\n".join(json.load(open(sys.argv[1]))[0]["Layers"]))' "$at/parts/manifest.json")
    packed=0
    for layer in $layers; do
        tar -xf "$at/parts/$layer" -C "$at/root"
        packed=$((packed + $(gzip -dcf "$at/parts/$layer" | gzip -9 -n | wc -c)))
    done
    found=$(cd "$at/root" && find . -mindepth 1 | sort | paste -s -d ' ')
    [ "$found" = ./zemi ] || die "expected one file in the image, /zemi; found: $found"
    cmp "$at/root/zemi" "dist/zemi-$arch-linux" || die "the image holds another program"
    ((packed <= packed_limit)) ||
        missed+=("$arch: expected at most $packed_limit bytes packed, found $packed")
    config=$(python3 -c 'import json, sys
name = json.load(open(sys.argv[1] + "/manifest.json"))[0]["Config"]
whole = json.load(open(sys.argv[1] + "/" + name))
print(json.dumps([whole["architecture"], whole["config"]]))' "$at/parts")
    platform_of "$arch"
    found=${platform#linux/}
    holds "[\"${found%/*}\","
    for found in '"User": "65532:65532"' '"Entrypoint": ["/zemi"]' '"Test": ["CMD", "/zemi", "health"]' \
        '"org.opencontainers.image.title": "zemi"' "\"org.opencontainers.image.version\": \"$version\""; do
        holds "$found"
    done
    find_qemu "$arch"
    if [ -n "$qemu" ]; then cp "$qemu" "$at/root/qemu" && run=(/qemu); fi
    run=(env -i "$(command -v chroot)" --userspec=65532:65532 "$at/root" "${run[@]}" /zemi)
    found=$("${run[@]}" --version) || die "the image's program does not run"
    [ "$found" = "zemi $version" ] || die "expected \`zemi $version\`, found \`$found\`"
    # The health check, where no zemi answers: 69, and not a crash.
    found=0
    "${run[@]:0:2}" HEALTH_PORT=1 "${run[@]:2}" health >/dev/null 2>&1 || found=$?
    [ "$found" = 69 ] || die "expected 69 of \`zemi health\`, found $found"
    echo "image for $arch: one file, $(wc -c <"$at/root/zemi") bytes, $packed packed of $packed_limit"
}

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
store=''
case ${1:-}:$# in
    build:1 | build:2)
        choose_engine
        build "${IMAGE:-zemi:$version}" "${2:-$(uname -m)}"
        echo "${IMAGE:-zemi:$version} (by $engine)"
        ;;
    test:1)
        [ "$(id -u)" = 0 ] || die "the test needs root, for chroot"
        choose_engine
        choose_cache
        work=$(mktemp -d "${TMPDIR:-/tmp}/zemi-image.XXXXXX")
        trap 'rm -rf "$work"' EXIT
        # Storage of its own: nothing is left behind.
        store=$work/store
        tested=0 missed=()
        for arch in "${archs[@]}"; do
            [ -f "dist/zemi-$arch-linux" ] || continue
            test_image "$arch"
            [ "$engine" = buildah ] || engine rmi "localhost/zemi-test:$arch" >/dev/null
            tested=$((tested + 1))
        done
        [ "$tested" -gt 0 ] || die "dist/ holds no program: make cross"
        [ ${#missed[@]} = 0 ] || die "${missed[@]}"
        ;;
    *)
        sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2
        exit 64
        ;;
esac
