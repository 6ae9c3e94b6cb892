#!/bin/sh
# Makes sure that the named programs are there, and installs the missing ones with the system's package manager:
#   tools/deps.sh cc redis-server haproxy nginx  (cc is whichever C compiler go would call)
# Where it may not install, it says in one sentence what to install, and fails. It leaves no daemon behind: the
# tests start what they need on ports of their own.
set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

have() {
	case $1 in
	cc)
		# With its headers: a bare compiler does not link a Go program.
		compiler=$(go env CC)
		echo '#include <stdlib.h>' | ${compiler%% *} -E - >/dev/null 2>&1
		;;
	*) command -v "$1" >/dev/null ;;
	esac
}

packages_of() {
	for program in "$@"; do
		case $manager:$program in
		apt-get:cc) echo gcc libc6-dev ;;
		apk:cc) echo gcc musl-dev ;;
		*:cc) echo gcc ;;
		apt-get:redis-server) echo redis-server ;;
		*:redis-server) echo redis ;;
		*) echo "$program" ;;
		esac
	done | paste -s -d ' ' -
}

missing_of() {
	for program in "$@"; do
		have "$program" || echo "$program"
	done | paste -s -d ' ' -
}

# as_root runs a command as root, or fails without asking for a password.
as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_install() {
	case $manager in
	none) false ;;
	brew) [ "$(id -u)" != 0 ] ;;
	*) as_root true 2>/dev/null ;;
	esac
}

install_packages() {
	case $manager in
	apt-get) apt_install "$@" || { as_root apt-get -q update && apt_install "$@"; } ;;
	dnf) as_root dnf install -y "$@" ;;
	apk) as_root apk add --no-cache "$@" ;;
	pacman) as_root pacman -S --noconfirm --needed "$@" || as_root pacman -Sy --noconfirm --needed "$@" ;;
	brew) brew install "$@" ;;
	esac
}

apt_install() {
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends \
		-o DPkg::Lock::Timeout=120 install "$@"
}

# Only Debian's packages start what they install: this policy forbids it while they are being installed. A policy
# that is there already is somebody's decision, and stays.
policy=/usr/sbin/policy-rc.d
hold_services() {
	[ "$manager" = apt-get ] && [ ! -e $policy ] || return 0
	trap 'as_root rm -f $policy' EXIT
	trap 'exit 1' HUP INT TERM
	printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
	as_root chmod 755 $policy
}

# Nor shall they start when the machine does.
disable_services() {
	[ "$manager" = apt-get ] || return 0
	for program in "$@"; do
		[ ! -e "/etc/init.d/$program" ] || as_root update-rc.d "$program" disable
	done
}

missing=$(missing_of "$@")
[ -n "$missing" ] || exit 0

manager=none
for candidate in apt-get dnf apk pacman brew; do
	if command -v $candidate >/dev/null; then
		manager=$candidate
		break
	fi
done
# Names of programs and packages have no blanks, so the lists below are split on purpose.
# shellcheck disable=SC2046,SC2086
{
	packages=$(packages_of $missing)
	if ! may_install; then
		with=$manager
		[ "$manager" != none ] || with="your system's package manager"
		echo "deps: install $packages with $with, then run this again" >&2
		exit 1
	fi
	echo "deps: installing $packages with $manager"
	hold_services
	if ! log=$(install_packages $packages </dev/null 2>&1 && disable_services $missing 2>&1); then
		echo "$log" >&2
		echo "deps: $manager could not install $packages: install it by hand, then run this again" >&2
		exit 1
	fi
	missing=$(missing_of $missing)
}
if [ -n "$missing" ]; then
	echo "deps: $manager installed $packages, but $missing is still not there" >&2
	exit 1
fi
