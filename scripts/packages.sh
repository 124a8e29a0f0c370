# shellcheck shell=bash
# The system packages that Headscope needs, by Debian's and Ubuntu's names, and what the scripts share. To be sourced.

# A C compiler and a linker, and the certificates that cargo checks its registry with.
build_packages=(build-essential ca-certificates pkg-config)
# A Vulkan driver in software, for machines without a graphics card; brings the Vulkan loader.
draw_packages=(mesa-vulkan-drivers)
# Loaded when a window opens, on X11 or on Wayland.
window_packages=(libx11-6 libx11-xcb1 libxcursor1 libxi6 libxrandr2 libxkbcommon0 libxkbcommon-x11-0 libwayland-client0)

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }

# install_missing PACKAGE...: installs those that are not there; does nothing where all are, or where there is no apt.
install_missing() {
    local package as_root=() missing=()
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        [ "$(uname -s)" != Linux ] || say "no apt-get here: if the build or the window fails, install what Debian calls $*"
        return
    fi
    for package in "$@"; do
        # shellcheck disable=SC2016 # dpkg-query's own variable
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { say "as root, run: apt-get install ${missing[*]}"; return 1; }
        as_root=(sudo)
    fi
    say "installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Finds cargo, also where the shell that installed it has not been left yet.
need_cargo() {
    command -v cargo >/dev/null || PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    command -v cargo >/dev/null && return
    say "needs Rust 1.95 or newer; install it, then run this again:"
    say "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
    return 1
}

# Vulkan drivers complain where the session has no runtime folder, as in containers: gives them one for a while.
give_runtime_folder() {
    [ ! -d "${XDG_RUNTIME_DIR:-}" ] || return 0
    XDG_RUNTIME_DIR=$(mktemp -d)
    chmod 700 "$XDG_RUNTIME_DIR"
    export XDG_RUNTIME_DIR
    trap 'rm -rf "$XDG_RUNTIME_DIR"' EXIT
}
