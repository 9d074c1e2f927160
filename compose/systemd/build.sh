#!/usr/bin/env bash
# Builds what compose/systemd/install.sh installs, into the directory build of this checkout:
# herd, nats-server, the manual page, completions for shells, and the licences of modules. It
# needs Go, and no rights. The flags are those of .ci/reproducible.
set -euo pipefail
cd "$(dirname "$0")/../.."

rm -rf build
mkdir -p build/completions
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags="-s -w" -o build/ ./cmd/herd github.com/nats-io/nats-server/v2
build/herd manpage >build/herd.1
for shell in bash zsh fish; do
	build/herd completion "$shell" >"build/completions/$shell"
done
go run ./cmd/internal/licenses -texts build/modules.txt
