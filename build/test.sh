# Sourced by appliance.sh: all tests, and one line that sums them up.

run_tests() {
  need_root test
  build
  fetch_server coturn # STUN
  fetch_server prometheus # metrics
  build_xen
  local passed=0 failed=0 newest
  count "test: types" node_modules/.bin/tsc -p .
  count "test: types of the page" node_modules/.bin/tsc -p src/web/page
  count "test: lint and format" node_modules/.bin/biome check .
  count "test: shell scripts" check_scripts
  count_bun_tests "test: bun test" dist/tests.xml
  mapfile -t newest < <(newest_kernels)
  count_kernel_tests "${newest[@]}"
  count_xen_tests
  say "test: of what was tested, $MANIFEST"
  cat "$MANIFEST"
  sum_up
}

# What `count` and `count_bun_tests` have counted, as the last line. Fails where a test did.
sum_up() {
  printf '%s passed, %s failed\n' "$passed" "$failed"
  [ "$failed" = 0 ]
}

check_scripts() {
  local scripts
  mapfile -t scripts < <(grep --recursive --files-with-matches '^#!/bin/\(ba\)\?sh' .ci build rootfs bench tests docs)
  shellcheck --external-sources --check-sourced "${scripts[@]}"
}

# Runs a command that is one test.
count() {
  say "$1"
  shift
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

# $1: what it says; $2: where the report goes; then what is run, all tests without it.
count_bun_tests() {
  local report=$2 status=0 tests failures skipped
  say "$1"
  shift 2
  rm -f "$report"
  # The limit is for a machine that is busy with other things too; a test that waits for something has its own.
  node_modules/.bin/bun test --timeout 300000 --reporter=junit --reporter-outfile="$report" "$@" || status=$?
  tests=$(sum_of tests "$report")
  failures=$(sum_of failures "$report")
  skipped=$(sum_of skipped "$report")
  [ "$skipped" = 0 ] || list_skipped "$report"
  # A file that could not even be loaded is in no report.
  if [ "$status" != 0 ] && [ "$failures" = 0 ]; then failures=1 tests=$((tests + 1)); fi
  passed=$((passed + tests - failures - skipped))
  failed=$((failed + failures + skipped))
}

# $1: a JUnit report. What was not tried is not known to work, so it counts as failed.
list_skipped() {
  say "test: skipped, which counts as failed:"
  grep -B 1 '<skipped' "$1" | sed -n 's/^ *<testcase name="\([^"]*\)".* file="\([^"]*\)".*/  \2: \1/p'
}

# $1: tests, failures or skipped; $2: a JUnit report. Its outermost element has the sums.
sum_of() {
  local number
  number=$(grep -o "<testsuites [^>]*>" "$2" 2>/dev/null | grep -o " $1=\"[0-9]*\"" | tr -dc 0-9)
  printf '%s\n' "${number:-0}"
}

# $1: how many; 100 million without it.
soak_frames() {
  local count=${1:-100000000}
  [[ "$count" =~ ^[1-9][0-9]{0,9}$ ]] || refuse "soak-frames takes a number"
  install_node_modules
  say "soak-frames: $count mutated frames of both families"
  node_modules/.bin/bun tests/dataplane/soak.ts "$count"
}

# $1: how many; a million without it.
soak_requests() {
  local count=${1:-1000000}
  [[ "$count" =~ ^[1-9][0-9]{0,9}$ ]] || refuse "soak-requests takes a number"
  need_root soak-requests
  setup
  say "soak-requests: $count mutated requests of a hundred clients at once, to a firewall in namespaces"
  node_modules/.bin/bun tests/net/soak.ts "$count"
}
