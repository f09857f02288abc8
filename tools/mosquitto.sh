#!/bin/sh
# Installs Mosquitto from the system's packages, for tests that start a broker of their own. Fails where it can't without a password.
set -eu
command -v apt-get >/dev/null
root=
if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null
    root="sudo -n"
fi

echo "Installing Mosquitto, for the tests of the MQTT bridge"
# Debian's package starts a broker on port 1883 as soon as it is installed, unless it is told not to.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '$root rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null
    $root chmod 755 "$policy"
fi
$root apt-get -qq update
$root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends mosquitto >/dev/null
