package places

import (
	"context"
	"net/netip"
)

type clientKey struct{}

// WithClient returns a context for queries of a client at a network address, host:port. See [Turns].
func WithClient(ctx context.Context, remote string) context.Context {
	return context.WithValue(ctx, clientKey{}, remote)
}

// client returns what counts as one client: an IPv4 address or an IPv6 network of 64 bits. Behind a loopback address
// there may be many clients (a gateway), so each connection from there counts as one. Queries without an address are of
// one client.
func client(ctx context.Context) string {
	remote, _ := ctx.Value(clientKey{}).(string)
	address, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	ip := address.Addr().Unmap()
	switch {
	case ip.IsLoopback():
		return remote
	case ip.Is6():
		network, _ := ip.WithZone("").Prefix(64) // 64 is valid for IPv6
		return network.String()
	}
	return ip.String()
}
