#!/usr/bin/env bash
# Builds herd and nats-server from this checkout and installs them for systemd:
#
#   sudo compose/systemd/install.sh
#
# PREFIX (/usr/local) gets the programs, the man page, the completions for shells, and the
# licences. /etc/systemd/system gets the units, and /etc/herd the settings, which are kept if
# they exist. DESTDIR goes before all paths, for packages. It starts and enables nothing.
set -euo pipefail
cd "$(dirname "$0")/../.."

prefix=${PREFIX:-/usr/local}
dest=${DESTDIR:-}
install -d "$dest$prefix/bin" "$dest$prefix/share/doc/herd" "$dest/etc/systemd/system" "$dest/etc/herd"

CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o "$dest$prefix/bin/" ./cmd/herd github.com/nats-io/nats-server/v2
herd=$dest$prefix/bin/herd

# generated FILE ARG... installs the output of a command of herd.
generated() {
	local file=$1
	shift
	if text=$("$herd" "$@" 2>/dev/null); then
		install -d "$(dirname "$dest$prefix/share/$file")"
		printf '%s\n' "$text" >"$dest$prefix/share/$file"
	else
		echo "skipped: this herd has no command $1, so $file is not installed" >&2
	fi
}
generated man/man1/herd.1 manpage
generated bash-completion/completions/herd completion bash
generated zsh/site-functions/_herd completion zsh
generated fish/vendor_completions.d/herd.fish completion fish

install -m 0644 LICENSE NOTICE THIRD_PARTY_NOTICES.md "$dest$prefix/share/doc/herd/"
go run ./cmd/internal/licenses -texts "$dest$prefix/share/doc/herd/modules.txt"

for unit in herd@.service herd-nats.service; do
	sed "s,/usr/local/bin/,$prefix/bin/," "compose/systemd/$unit" >"$dest/etc/systemd/system/$unit"
done
[ -e "$dest/etc/herd/herd.env" ] || install -m 0644 compose/systemd/herd.env "$dest/etc/herd/herd.env"

cat <<END
Installed. Edit /etc/herd/herd.env if necessary. Then, as root:

  (set -a; . /etc/herd/herd.env; $prefix/bin/herd bus-config /etc/herd/keys)
  systemctl daemon-reload
  systemctl enable --now herd-nats herd@Goloman herd@Hands herd@Holiday herd@Welsh herd@Wilkes

On several hosts, copy /etc/herd/keys to each and enable the servers that it runs.
END
