#!/bin/bash
# The app as a container runs it, without one: user 1000, the root file system read-only, a /tmp of its own, no network.
#   sudo unshare --mount --net bash Testing/benchmarks/as_in_a_container.sh BIDS_DIR OUT PYTHONPATH [options of brainiac-bids]
# PYTHONPATH: the tree and the packages of an environment whose Python is that of the system.
set -euo pipefail
data=$(realpath "$1") out=$(realpath -m "$2") path=$3
shift 3
mount --make-rprivate /
mkdir -p "$out"
chown 1000:1000 "$out"
mount --bind "$data" /srv
mount --bind "$out" /mnt
mount -o remount,bind,ro /
mount -t tmpfs -o mode=1777 tmpfs /tmp
touch /usr/written 2>/dev/null && echo "the root file system is not read-only" && exit 1
(echo >/dev/tcp/1.1.1.1/80) 2>/dev/null && echo "there is a network" && exit 1
cd /mnt
run() {
    setpriv --reuid 1000 --regid 1000 --clear-groups env -i PATH=/usr/bin:/bin PYTHONPATH="$path" \
        PYTHONDONTWRITEBYTECODE=1 MPLCONFIGDIR=/tmp/matplotlib XDG_CACHE_HOME=/tmp/cache HF_HUB_OFFLINE=1 \
        python3 -c "import sys; from BrainIACLib.cli.bids_app import main; sys.exit(main(sys.argv[1:]))" /srv /mnt "$@"
}
run participant --device cpu --jobs 1 "$@"
run group
