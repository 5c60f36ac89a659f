#!/bin/sh
# Builds the server if its sources have changed, and becomes it. All arguments are the server's:
#
#   ./spawn_redis_server.sh --port 6380
#
# Works from any directory and through symbolic links. The server runs in the caller's directory;
# the build is silent unless it fails.
set -eu

root=$(dirname -- "$(readlink -f -- "$0")")
target=${CARGO_TARGET_DIR:-$root/target}

# The compiler gets neither the server's stdin nor its stdout.
if ! log=$(cargo build --release --manifest-path "$root/Cargo.toml" --target-dir "$target" \
    </dev/null 2>&1); then
    printf '%s\n' "$log" >&2
    exit 1
fi
exec "$target/release/ferrodis" "$@"
