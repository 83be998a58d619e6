#!/usr/bin/env bash
# Adds up the closing lines of cargo test in a log, so that the last line says how many tests ran.
set -euo pipefail
awk '/^test result:/ { for (i = 1; i < NF; i++) { if ($(i + 1) ~ /^passed/) p += $i; if ($(i + 1) ~ /^failed/) f += $i; if ($(i + 1) ~ /^ignored/) g += $i } n++ }
     END { printf "tests: %d passed, %d failed, %d ignored in %d binaries\n", p, f, g, n; exit (f > 0 || p == 0) }' "$1"
