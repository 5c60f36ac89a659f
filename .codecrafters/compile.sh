#!/bin/sh
# The course's platform compiles with this, in the repository's directory.
set -e

cargo build --release --target-dir=/tmp/codecrafters-build-redis-rust --manifest-path Cargo.toml
