# shellcheck shell=bash
# shellcheck disable=SC2154 # the variables of cross.sh
# Sourced by cross.sh. Chooses between the two ways to a std, before anything is built.

# Sets rust_wanted to the oldest Rust that Cargo.toml takes, and checks cargo.
check_cargo() {
    local version
    rust_wanted=$(sed -n 's/^rust-version = "\([0-9.]*\)".*/\1/p' Cargo.toml)
    [ -n "$rust_wanted" ] || die "expected rust-version in Cargo.toml, found none"
    has cargo || die "cargo is missing (https://rustup.rs, Rust $rust_wanted or later)"
    version=$(cargo -V 2>/dev/null | sed -n 's/^cargo \([0-9.]*\).*/\1/p') || true
    version_at_least "$version" "$rust_wanted" ||
        die "expected cargo $rust_wanted or later, found ${version:-one that does not run}: rustup update"
}

# Sets rustc_version to that of a rustc; fails where it does not run.
ask_rustc() {
    rustc_version=$("$1" -V 2>/dev/null) || rustc_version=''
    [[ $rustc_version == 'rustc '[0-9]* ]] || return 1
    rustc_version=${rustc_version#rustc }
    rustc_version=${rustc_version%% *}
}

# Whether rustc has a std for each of these targets: sets missing to those that it has none for.
has_targets() {
    local arch sysroot
    missing=()
    sysroot=$("$rustc" --print sysroot) || return 1
    for arch in "$@"; do
        triple_of "$arch"
        [ -d "$sysroot/lib/rustlib/$triple/lib" ] || missing+=("$triple")
    done
    [ ${#missing[@]} = 0 ]
}

# Whether the toolchain is new enough and has these targets, or rustup brings them. Else says in rustup_why
# what is in the way.
find_rustup() {
    local said missing
    rustc=${RUSTC:-rustc}
    if ! ask_rustc "$rustc"; then
        rustup_why='there is no rustc'
        return 1
    elif ! version_at_least "$rustc_version" "$rust_wanted"; then
        rustup_why="rustc $rustc_version is older than Rust $rust_wanted (rustup update)"
        return 1
    fi
    has_targets "$@" && return
    rustup_why="there is no rustup to bring ${missing[*]}"
    has rustup || return 1
    if said=$(timeout 300 rustup target add "${missing[@]}" 2>&1); then
        has_targets "$@" && return
        rustup_why="rustup brought ${missing[*]} to another toolchain than that of $rustc"
    else
        rustup_why=$(grep -m 1 -i error <<<"$said" || tail -n 1 <<<"$said")
    fi
    return 1
}

# Sets way, rustc and, on the way of Debian, rustc_home. Debian's where it can be had: the std that is built
# there makes programs a quarter of a MB smaller.
choose_way() {
    local debian_why='' rustup_why=''
    rustc_home=''
    way=${CROSS_WAY:-}
    case $way in
        rustup) find_rustup "$@" || die "CROSS_WAY=rustup: $rustup_why" ;;
        debian) find_debian || die "CROSS_WAY=debian: $debian_why" ;;
        '')
            way=debian
            find_debian && return
            way=rustup
            find_rustup "$@" || die "no std for $*: by Debian, $debian_why; by rustup, $rustup_why"
            note "by rustup, since $debian_why"
            ;;
        *) die "expected CROSS_WAY=rustup or debian, found \`$way\`" ;;
    esac
}
