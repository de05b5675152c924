#!/usr/bin/env bash
# Runs cargo with the arguments given, after saying what the machine lacks, if it lacks anything.
. "$(dirname "$0")/common.sh"
find_rust
need_everything
exec cargo "$@"
