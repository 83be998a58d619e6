#!/usr/bin/env bash
# Compiles RocksDB, from the very sources that the rocksdb crate brings, into a static library in the folder given, and is
# done in a moment when it is there. Why not leave it to the crate: that compiles 343 files one by one, most of the time the
# same headers; here a dozen files each include some thirty of them, which takes a fifth of the time on two cores.
#
# ROCKSDB_LIB_DIR (that folder) and ROCKSDB_STATIC=1 then tell the crate to link it. Without them `cargo build` works as
# well, and takes longer.
set -euo pipefail

into=$1
chunks=12

# The folder of a package in cargo's own store.
package() {
    cargo metadata --locked --format-version 1 |
        grep -o "\"manifest_path\":\"[^\"]*/$1-[0-9][^/\"]*/Cargo.toml\"" | head -n 1 | cut -d '"' -f 4 | xargs dirname
}

crate=$(package librocksdb-sys)
version=$(basename "$crate")
[ "$(cat "$into/version" 2>/dev/null)" != "$version" ] || exit 0
lz4=$(package lz4-sys)/liblz4/lib

echo "rocksdb: compiling $version; some minutes"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The flags of the crate's own build on Linux.
flags=(
    -std=c++20 -O2 -fPIC -w -ffunction-sections -fdata-sections -include cstdint
    -DNDEBUG=1 -DLZ4=1 -DHAVE_ALIGNED_NEW -DHAVE_UINT128_EXTENSION -DOS_LINUX -DROCKSDB_PLATFORM_POSIX
    -DROCKSDB_LIB_IO_POSIX -DROCKSDB_SCHED_GETCPU_PRESENT -DROCKSDB_AUXV_GETAUXVAL_PRESENT
    -DROCKSDB_FALLOCATE_PRESENT -DROCKSDB_RANGESYNC_PRESENT
    "-I$crate/rocksdb/include" "-I$crate/rocksdb" "-I$crate" "-I$lz4"
)
[ "$(uname -m)" != aarch64 ] || flags+=(-march=armv8-a+crc+aes+crypto)

# Neighbours stay together, since they share headers; each part has about as many bytes as the next.
total=$(cd "$crate/rocksdb" && grep -v build_version "$crate/rocksdb_lib_sources.txt" | xargs cat | wc -c)
(cd "$crate/rocksdb" && grep -v build_version "$crate/rocksdb_lib_sources.txt" | xargs wc -c) |
    awk -v total="$total" -v chunks="$chunks" -v work="$work" -v root="$crate/rocksdb" '
        $2 != "total" {
            printf "#include \"%s/%s\"\n", root, $2 > sprintf("%s/part%02d.cc", work, int(seen * chunks / total))
            seen += $1
        }'
cp "$crate/build_version.cc" "$work/build_version.cc"

printf '%s\n' "$work"/*.cc |
    xargs -P "$(nproc)" -I {} "${CXX:-clang++}" "${flags[@]}" -c {} -o {}.o
mkdir -p "$into"
rm -f "$into/librocksdb.a"
ar rcs "$into/librocksdb.a" "$work"/*.o
echo "$version" >"$into/version"
