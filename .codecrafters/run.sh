#!/bin/sh
# The course's platform starts the server with this, after compile.sh.
set -e

exec /tmp/codecrafters-build-redis-rust/release/ferrodis "$@"
