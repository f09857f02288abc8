#!/bin/sh
# Installs PostgreSQL from the system's packages, for tests that start a server of their own. Fails where it can't without a password.
set -eu
command -v apt-get >/dev/null
root=
if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null
    root="sudo -n"
fi

echo "Installing PostgreSQL, for the tests of the store"
# Debian's package starts a server on port 5432 as soon as it is installed, unless it is told not to.
settings=/etc/postgresql-common/createcluster.d
trap '$root rm -f $settings/tests.conf' EXIT
$root mkdir -p "$settings"
echo "create_main_cluster = false" | $root tee "$settings/tests.conf" >/dev/null
$root apt-get -qq update
$root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends postgresql >/dev/null
