#!/bin/sh -e
# shellcheck disable=SC2094  # that the file is there is all that its writer looks at
# A MariaDB on this host holds still, for both `icecore backup --pre-script` and `--post-script`.
# Tables are locked as long as the session in the background lives.
cd /run
case $ICECORE_PHASE in
pre)
    : > icecore-locked
    { echo 'FLUSH TABLES WITH READ LOCK; SELECT "locked";'; while [ -e icecore-locked ]; do sleep 1; done; } |
        mariadb -nN > icecore-locked & echo $! > icecore-db
    until grep -q locked icecore-locked; do kill -0 "$(cat icecore-db)"; sleep 0.1; done;;
post)
    rm icecore-locked
    kill "$(cat icecore-db)";;
esac
