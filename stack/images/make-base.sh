#!/bin/sh
# Makes the base image of stack/images/Dockerfile locally, for machines that reach Debian but no image registry.
#
#   make-base.sh [IMAGE]     default: debian:bookworm-slim, the very name that the Dockerfile starts FROM
#
# Needs root and debootstrap (installed where apt-get is there). About a minute, 80 MB of downloads.
# DEBIAN_MIRROR takes another mirror. An image of that name that is there already is left alone.
set -eu

image=${1:-debian:bookworm-slim}
mirror=${DEBIAN_MIRROR:-}

if docker image inspect "$image" >/dev/null 2>&1; then
    echo "$image is there already"
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    echo "making $image needs root (debootstrap): run 'sudo $0 $image' once" >&2
    exit 1
fi
if ! command -v debootstrap >/dev/null 2>&1; then
    echo "installing debootstrap"
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends debootstrap debian-archive-keyring >/dev/null
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "unpacking Debian bookworm${mirror:+ from $mirror}"
if ! debootstrap --variant=minbase bookworm "$work/root" ${mirror:+"$mirror"} >"$work/log" 2>&1; then
    tail -n 20 "$work/log" >&2
    exit 1
fi
# As in the official image: no service starts while a package is installed, and no documentation.
printf '#!/bin/sh\nexit 101\n' >"$work/root/usr/sbin/policy-rc.d"
chmod 755 "$work/root/usr/sbin/policy-rc.d"
printf 'path-exclude /usr/share/doc/*\npath-exclude /usr/share/man/*\npath-exclude /usr/share/locale/*\n' \
    >"$work/root/etc/dpkg/dpkg.cfg.d/docker"
rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/* \
    "$work"/root/usr/share/doc/* "$work"/root/usr/share/man/* "$work"/root/usr/share/locale/*
echo "importing it as $image"
tar -C "$work/root" -c . | docker import --change 'CMD ["bash"]' - "$image" >/dev/null
echo "made $image"
