#!/usr/bin/env bash
# Installs herd and nats-server for systemd. The first step needs Go, the second one root:
#
#   compose/systemd/build.sh
#   sudo compose/systemd/install.sh
#
# PREFIX (/usr/local) gets the programs, the manual page, the completions for shells, and the
# licences. /etc/systemd/system gets the units, and /etc/herd the settings, which are kept if
# they exist. DESTDIR goes before all paths, for packages. It starts and enables nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."
[ -s build/modules.txt ] || { echo "there is nothing to install: run compose/systemd/build.sh first" >&2; exit 1; }

prefix=${PREFIX:-/usr/local}
dest=${DESTDIR:-}

# file MODE FROM TO installs a file. Directories are readable for everybody, whatever the umask.
umask 022
file() { install -D -m "$1" "$2" "$dest$3"; }

file 0755 build/herd "$prefix/bin/herd"
file 0755 build/nats-server "$prefix/bin/nats-server"
file 0644 build/herd.1 "$prefix/share/man/man1/herd.1"
file 0644 build/completions/bash "$prefix/share/bash-completion/completions/herd"
file 0644 build/completions/zsh "$prefix/share/zsh/site-functions/_herd"
file 0644 build/completions/fish "$prefix/share/fish/vendor_completions.d/herd.fish"
for text in LICENSE NOTICE THIRD_PARTY_NOTICES.md build/modules.txt; do
	file 0644 "$text" "$prefix/share/doc/herd/$(basename "$text")"
done
for unit in herd@.service herd-nats.service; do
	file 0644 "compose/systemd/$unit" "/etc/systemd/system/$unit"
	sed -i "s,/usr/local/bin/,$prefix/bin/," "$dest/etc/systemd/system/$unit"
done
[ -e "$dest/etc/herd/herd.env" ] || file 0644 compose/systemd/herd.env /etc/herd/herd.env

cat <<END
Installed. Edit /etc/herd/herd.env if necessary. Then, as root:

  (set -a; . /etc/herd/herd.env; $prefix/bin/herd bus-config /etc/herd/keys)
  systemctl daemon-reload
  systemctl enable --now herd-nats herd@Goloman herd@Hands herd@Holiday herd@Welsh herd@Wilkes

On several hosts, copy /etc/herd/keys to each and enable the servers that it runs.
END
