#!/usr/bin/env bash
# compose/standin.sh IMAGE makes an image that stands in for IMAGE, the builder that
# compose/Dockerfile begins FROM, where no registry can be reached: this machine's own
# Go toolchain and CA certificates, and nothing else, under that very name. It is no
# golang image: it has no shell and no C compiler, which the Dockerfile does not need.
# Where IMAGE is there already it is left alone, and the exit status is 3, so that
# nobody takes the real one for a stand-in and removes it. Remove it after use:
# docker rmi IMAGE.
set -euo pipefail
image=$1

if docker image inspect "$image" >/dev/null 2>&1; then
	# One that an earlier run could not remove.
	[ "$(docker image inspect --format '{{index .Config.Labels "herd.standin"}}' "$image")" = true ] && exit 0
	echo "standin: $image is there already" >&2
	exit 3
fi
goroot=$(go env GOROOT)
certificates=
for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
	[ -z "$certificates" ] && [ -e "$file" ] && certificates=$file
done
[ -n "$certificates" ] || { echo "standin: no CA certificates on this machine" >&2; exit 1; }

# -h: files, where this machine has links to them. /tmp, itself alone, is where go builds.
tar -c -h --owner=0 --group=0 \
	--exclude="${goroot#/}/test" --exclude="${goroot#/}/api" --exclude="${goroot#/}/doc" --exclude="${goroot#/}/pkg/obj" \
	--transform "s,^${goroot#/},usr/local/go," \
	--transform "s,^${certificates#/}\$,etc/ssl/certs/ca-certificates.crt," \
	-C / "${goroot#/}" "${certificates#/}" --no-recursion tmp |
	docker import --message "stand-in for $image, from a machine's own Go toolchain" \
		--change 'ENV PATH=/usr/local/go/bin HOME=/root GOPATH=/go' \
		--change 'LABEL herd.standin=true' - "$image"
