#!/usr/bin/env bash
# Installs the packages named, as root. For as long as it runs a policy-rc.d forbids every start of a service;
# one that was there before comes back afterwards.
set -euo pipefail

policy=/usr/sbin/policy-rc.d
saved=$policy.before-ashlar

exec 9>/run/lock/ashlar-apt.lock # two runs would take each other's policy for the machine's own
flock 9

restore() {
    rm -f "$policy"
    if [ -e "$saved" ] || [ -L "$saved" ]; then mv "$saved" "$policy"; fi
}
# A run that was killed has left its policy behind, and the machine's own beside it.
if [ -e "$saved" ] || [ -L "$saved" ]; then
    restore
elif grep -qs 'written by ashlar' "$policy"; then
    rm -f "$policy"
fi
trap restore EXIT
trap 'exit 130' INT TERM HUP
if [ -e "$policy" ] || [ -L "$policy" ]; then mv "$policy" "$saved"; fi
printf '#!/bin/sh\n# written by ashlar: no service starts while packages are installed\nexit 101\n' >"$policy"
chmod 755 "$policy"

export DEBIAN_FRONTEND=noninteractive
apt-get -o DPkg::Lock::Timeout=600 -q update
packages=("$@")
# QEMU's iSCSI driver only fits tools of its own version, and apt would rather remove the tools than say so:
# both are asked for in one version, that of the tools that are there if it can be had.
if [[ " $* " == *" qemu-block-extra "* ]]; then
    have=$(dpkg-query -W -f '${Version}' qemu-utils 2>/dev/null || true)
    version=$(apt-cache madison qemu-block-extra | awk -v have="$have" '$3 == have { print $3; exit }')
    version=${version:-$(apt-cache policy qemu-block-extra | awk '$1 == "Candidate:" { print $2 }')}
    packages+=("qemu-utils=$version" "qemu-block-extra=$version")
fi
apt-get -o DPkg::Lock::Timeout=600 -q install --yes --no-install-recommends --allow-downgrades \
    "${packages[@]}"
