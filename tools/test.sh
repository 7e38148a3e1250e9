#!/bin/sh
# npm test: needs nothing but npm beforehand. The arguments go to vitest (npm test -- --project unit agent/dns).
set -eu
root=$(CDPATH='' cd -P "$(dirname "$0")/.." && pwd -P)
cd "$root"
sh tools/setup.sh dependencies
PATH=$root/node_modules/.bin:$PATH
export PATH
exec node tools/test.ts "$@"
