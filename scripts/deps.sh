#!/usr/bin/env bash
# Installs what is missing to build (`build`), to build and test (`all`), to build and hold the dashboards against a run
# (`dashboards`), to run the printed joins in Spark (`spark`), or for the page that trains (`torch`), on Debian; asks
# nothing, and is done in a moment when all is there. Elsewhere it names what is needed and goes on.
set -euo pipefail

what=${1:-all}
cache=$HOME/.cache/kappa

packages=(gcc g++ make cmake pkg-config clang libclang-dev libssl-dev redis-server)
if [ "$what" != build ]; then
    packages+=(python3-venv)
    command -v mvn >/dev/null || packages+=(maven)
    # Kafka 4 needs Java 17 or later.
    command -v java >/dev/null || packages+=(default-jre-headless)
fi

# Runs a command as root.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "deps: not root and no sudo, for: $*" >&2
        exit 1
    fi
}

install_packages() {
    local missing=() package
    for package in "${packages[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    echo "deps: installing ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Debian's programs without installing them: an installed Prometheus would start, and listen, as a service.
unpack_prometheus() {
    local name folder
    for name in prometheus promtool prometheus-node-exporter; do
        command -v "$name" >/dev/null || [ -x "$cache/prometheus/usr/bin/$name" ] || break
        [ "$name" != prometheus-node-exporter ] || return 0
    done
    echo "deps: unpacking prometheus and prometheus-node-exporter into $cache/prometheus"
    folder=$(mktemp -d)
    chmod 755 "$folder"
    (
        cd "$folder"
        apt-get download -qq prometheus prometheus-node-exporter 2>/dev/null || {
            as_root apt-get update -qq
            apt-get download -qq prometheus prometheus-node-exporter
        }
        for name in *.deb; do dpkg-deb -x "$name" "$cache/prometheus"; done
    )
    rm -r "$folder"
}

# A virtual environment with these packages, made again when the list changes.
install_python() {
    local venv=$1
    shift
    [ "$(cat "$venv/.installed" 2>/dev/null)" != "$*" ] || return 0
    echo "deps: installing $* into $venv"
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "$@"
    echo "$*" >"$venv/.installed"
}

if command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then
    install_packages
else
    echo "deps: not a Debian: make sure that these are there: ${packages[*]}"
fi

command -v cargo >/dev/null || { echo "deps: cargo is not on PATH: install Rust (rustup.rs)" >&2; exit 1; }

if [ "$what" = dashboards ]; then
    command -v apt-get >/dev/null && unpack_prometheus
    install_python "$cache/venv-dashboards" confluent-kafka==2.16.1 PyYAML==6.0.3
fi

if [ "$what" = spark ]; then
    install_python "$cache/venv-spark" pyspark==4.2.0
fi

# Debian's PyTorch is the build for CPUs; the one that pip takes by default brings a gigabyte of CUDA.
if [ "$what" = torch ] && ! "$cache/venv-torch/bin/python3" -c 'import torch, polars' 2>/dev/null; then
    echo "deps: installing PyTorch into $cache/venv-torch"
    packages=(python3-torch python3-venv)
    install_packages
    /usr/bin/python3 -m venv --clear --system-site-packages "$cache/venv-torch"
    "$cache/venv-torch/bin/pip" install --quiet polars
fi

[ "$what" = all ] || exit 0

cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy

# The Python that reads our Delta tables in the tests: DuckDB, Polars, delta-rs' own; and Redis.
install_python "$cache/venv" duckdb==1.4.4 duckdb-ext-delta==1.4.4.20260205 polars deltalake pyarrow pandas redis
# Feast wants older ones of some of them.
install_python "$cache/venv-feast" 'feast[redis,duckdb,delta]==0.67.0' duckdb==1.4.4 duckdb-ext-delta==1.4.4.20260205
install_python "$cache/venv-dvc" dvc==3.67.1
