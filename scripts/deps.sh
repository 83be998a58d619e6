#!/usr/bin/env bash
# Installs what is missing to build (`build`) or to build and test (`all`) on Debian; asks nothing, and is done in a
# moment when all is there. Elsewhere it names what is needed and goes on.
set -euo pipefail

what=${1:-all}
cache=$HOME/.cache/kappa

packages=(gcc g++ make cmake pkg-config clang libclang-dev libssl-dev redis-server)
if [ "$what" = all ]; then
    packages+=(python3-venv)
    command -v mvn >/dev/null || packages+=(maven)
    # Kafka 4 needs Java 17 or later.
    command -v java >/dev/null || packages+=(default-jre-headless)
fi

install_packages() {
    local sudo=() missing=() package
    for package in "${packages[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    echo "deps: installing ${missing[*]}"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { echo "deps: not root and no sudo: install ${missing[*]}" >&2; exit 1; }
        sudo=(sudo)
    fi
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

if command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then
    install_packages
else
    echo "deps: not a Debian: make sure that these are there: ${packages[*]}"
fi

command -v cargo >/dev/null || { echo "deps: cargo is not on PATH: install Rust (rustup.rs)" >&2; exit 1; }

[ "$what" = all ] || exit 0

cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy

# The Python that reads our Delta tables in the tests: DuckDB, Polars, delta-rs' own.
readers=(duckdb==1.4.4 duckdb-ext-delta==1.4.4.20260205 polars deltalake pyarrow)
stamp=$cache/venv/.installed
if [ "$(cat "$stamp" 2>/dev/null)" != "${readers[*]}" ]; then
    echo "deps: installing ${readers[*]} into $cache/venv"
    python3 -m venv --clear "$cache/venv"
    "$cache/venv/bin/pip" install --quiet --disable-pip-version-check "${readers[@]}"
    echo "${readers[*]}" >"$stamp"
fi
