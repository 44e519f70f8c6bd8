#!/bin/sh
# Installs the real servers that tests start for themselves (RabbitMQ, MariaDB, Chromium, promtool,
# OpenSSH, docker-registry, node-exporter, Mosquitto, nftables, Go), where apt-get and root are at hand.
set -eu
missing=""
[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || command -v rabbitmq-server >/dev/null || missing="$missing rabbitmq-server"
[ -x /usr/sbin/mariadbd ] || command -v mariadbd >/dev/null || missing="$missing mariadb-server"
command -v chromium >/dev/null || missing="$missing chromium"
# The browser's driver, Node from playwright's wheel, is linked against it; a bare Debian lacks it.
PATH="$PATH:/usr/sbin:/sbin" ldconfig -p 2>/dev/null | grep -q libatomic.so.1 || missing="$missing libatomic1"
command -v promtool >/dev/null || missing="$missing prometheus"
[ -x /usr/sbin/sshd ] || command -v sshd >/dev/null || missing="$missing openssh-server"
command -v ssh-keygen >/dev/null || missing="$missing openssh-client"
command -v docker-registry >/dev/null || missing="$missing docker-registry"
command -v prometheus-node-exporter >/dev/null || missing="$missing prometheus-node-exporter"
[ -x /usr/sbin/mosquitto ] || command -v mosquitto >/dev/null || missing="$missing mosquitto"
[ -x /usr/sbin/nft ] || command -v nft >/dev/null || missing="$missing nftables"
command -v go >/dev/null || missing="$missing golang-go"
[ -d /usr/share/gocode/src/github.com/gorilla/websocket ] || missing="$missing golang-github-gorilla-websocket-dev"
[ -n "$missing" ] || exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "Installing for the tests:$missing ..."
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        # A policy that says no: installing must not start a broker of the system.
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null && exit 0
fi
echo "Tests that need$missing will be skipped. To run them: apt-get install$missing, then make test"
