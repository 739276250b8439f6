#!/usr/bin/env bash
# Whether tests can make a small disk in memory, which they fill: a file system
# that is mounted in a user namespace of their own. If not, says what may help.
set -euo pipefail
place=$(mktemp -d)
trap 'rmdir "$place"' EXIT
if error=$(unshare --user --map-root-user --mount mount -t tmpfs -o size=1048576 corelet-test "$place" 2>&1); then exit 0; fi
cat >&2 <<TEXT
can-mount: nothing can be mounted in a user namespace here, so no disk can be full: $error
  - unshare and mount are of util-linux
  - a system may forbid such namespaces; this allows them, as root:
      sysctl user.max_user_namespaces=10000
      sysctl kernel.unprivileged_userns_clone=1               (Debian)
      sysctl kernel.apparmor_restrict_unprivileged_userns=0   (Ubuntu)
  - a container needs --security-opt seccomp=unconfined, or --cap-add SYS_ADMIN
TEXT
exit 1
