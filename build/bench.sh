# Sourced by appliance.sh: what the benchmarks need beside the program and the image, into dist/bench and dist/nginx.

BENCH_PACKAGES=(
  gcc libc6-dev # the null forwarder and the generator
  nftables sockperf wrk # peers and clients
  libcrypt1 libpcre2-8-0 libssl3 zlib1g # nginx
)

# All but what the benchmarks print goes to standard error.
bench() {
  case " $* " in *" --help "* | *" -h "*) exec node_modules/.bin/bun bench/bench.ts --help ;; esac
  need_root bench
  PACKAGES+=("${BENCH_PACKAGES[@]}")
  {
    build
    fetch_server nginx
    build_bench
  } >&2
  exec node_modules/.bin/bun bench/bench.ts "$@"
}

build_bench() {
  local program
  say "build: dist/bench"
  mkdir -p dist/bench
  for program in null-forwarder generator; do
    [ "dist/bench/$program" -nt "bench/$program.c" ] || gcc -O2 -Wall -Wextra -o "dist/bench/$program" "bench/$program.c"
  done
}
