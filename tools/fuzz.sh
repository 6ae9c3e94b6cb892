#!/bin/sh
# Fuzzes each target of contracts, and those of edge that send what they make over both transports, one after the other, for
# FUZZTIME (default 10s).
set -eu
cd "$(dirname "$0")/.."

# -list prints the targets of a package, then a line with the package's name.
listed=$(go test -list '^Fuzz' ./contracts/... ./services/edge)
targets=$(echo "$listed" | awk '/^Fuzz/ { names[++n] = $1 } $1 == "ok" { for (i = 1; i <= n; i++) print $2, names[i]; n = 0 }')
if [ -z "$targets" ]; then
	echo "fuzz: there is no fuzz target" >&2
	exit 1
fi
echo "$targets" | while read -r package target; do
	echo "fuzz: $target"
	# To make an interesting input small takes up to a minute by default, which is all of a short run.
	go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-10s}" -fuzzminimizetime 1s "$package" </dev/null
done
