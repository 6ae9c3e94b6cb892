#!/bin/sh
# Runs go vet and go test on everything, once the programs that the tests start are there. Arguments go to go test:
#   tools/test.sh -race ./...
set -eu
cd "$(dirname "$0")/.."

# haproxy and nginx are installed where only root looks.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

race='' compiler=''
case " $* " in
*" -race "*)
	race=-race compiler=cc
	export CGO_ENABLED=1
	;;
esac
tools/deps.sh $compiler redis-server haproxy nginx

# vet takes -race too, so that what it compiles is what the tests use: from cold caches this saves half the time.
go vet $race ./...
exec go test -timeout 10m "$@"
