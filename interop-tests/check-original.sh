#!/bin/sh
# Runs the compliance suite against the original programs: what it demands of ours is proven
# to be what the original does.
#
#   interop-tests/check-original.sh                   Debian's packages (peers.sh fetches them)
#   KX_REF_KXD=/dir interop-tests/check-original.sh   another build, e.g. of upstream's newest commit
#   KX_REF_TCPCRYPTD=/dir ...                         also the original tcpcryptd (as root)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../target}
if [ -z "${KX_REF_KXD:-}" ]; then
	"$here/peers.sh" --unpack-only
	KX_REF_KXD=$target/peers/kxd/usr/bin
fi
if [ ! -x "$KX_REF_KXD/kxd" ]; then
	echo "check-original: no kxd in $KX_REF_KXD" >&2
	exit 1
fi
export KX_REF_KXD
export KX_BIN="$KX_REF_KXD"

cd "$here/.."
tests=$(cd interop-tests/tests && for t in kxd_*.rs; do echo "--test ${t%.rs}"; done)
# shellcheck disable=SC2086 # one word per option
${CARGO:-cargo} test --no-fail-fast -p interop-tests $tests

if [ -n "${KX_REF_TCPCRYPTD:-}" ]; then
	[ -d "$KX_REF_TCPCRYPTD" ] || KX_REF_TCPCRYPTD=$(dirname "$KX_REF_TCPCRYPTD")
	export KX_REF_TCPCRYPTD
	export KX_BIN="$KX_REF_TCPCRYPTD"
	tests=$(cd interop-tests/tests && for t in tcpcrypt_*.rs; do echo "--test ${t%.rs}"; done)
	# shellcheck disable=SC2086 # one word per option
	${CARGO:-cargo} test --no-fail-fast -p interop-tests $tests
fi
