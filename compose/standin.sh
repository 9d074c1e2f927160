#!/usr/bin/env bash
# compose/standin.sh IMAGE makes a stand-in for the builder image that compose/Dockerfile
# starts FROM, for machines that reach no container registry. It has the same name as the
# real image and contains only a Go toolchain and this machine's CA certificates: no shell
# and no C compiler, which the Dockerfile does not need. The toolchain is the version that
# IMAGE names, from the module proxy, or else the one that this machine has.
#
# If IMAGE exists already, the script changes nothing. It then exits with status 3 for a
# real image, which must be kept, and with 0 for a stand-in. Remove a stand-in after
# use: docker rmi IMAGE.
set -euo pipefail
image=$1

if docker image inspect "$image" >/dev/null 2>&1; then
	# A stand-in may be left from an earlier run that was interrupted.
	[ "$(docker image inspect --format '{{index .Config.Labels "herd.standin"}}' "$image")" = true ] && exit 0
	echo "standin: $image exists already" >&2
	exit 3
fi
goroot=$(GOTOOLCHAIN=go${image##*:} go env GOROOT) || {
	goroot=$(GOTOOLCHAIN=local go env GOROOT)
	echo "standin: $image gets the local $(GOTOOLCHAIN=local go env GOVERSION)" >&2
}
certificates=
for file in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
	[ -z "$certificates" ] && [ -e "$file" ] && certificates=$file
done
[ -n "$certificates" ] || { echo "standin: no CA certificates on this machine" >&2; exit 1; }

# -h replaces links by the files that they lead to. An empty /tmp is needed by go build.
tar -c -h --owner=0 --group=0 \
	--exclude="${goroot#/}/test" --exclude="${goroot#/}/api" --exclude="${goroot#/}/doc" --exclude="${goroot#/}/pkg/obj" \
	--transform "s,^${goroot#/},usr/local/go," \
	--transform "s,^${certificates#/}\$,etc/ssl/certs/ca-certificates.crt," \
	-C / "${goroot#/}" "${certificates#/}" --no-recursion tmp |
	docker import --message "stand-in for $image, from a Go toolchain" \
		--change 'ENV PATH=/usr/local/go/bin HOME=/root GOPATH=/go' \
		--change 'LABEL herd.standin=true' - "$image"
