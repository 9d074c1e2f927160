package bus

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// ErrScheme says that a URL is well-formed, but not of NATS.
var ErrScheme = errors.New("the scheme must be nats, tls, ws or wss")

// ParseURL returns a bus URL in full, with its scheme and port. It refuses URLs whose user
// part holds characters that end it too early: the rest of a password would then be taken
// for a host's name, and looked up in the DNS. Its errors show no part of the user part. A
// well-formed URL of another kind of server is an [ErrScheme].
func ParseURL(s string) (*url.URL, error) {
	scheme, rest := splitScheme(s)
	if scheme == "" {
		scheme = "nats://"
	}
	u, err := url.Parse(scheme + rest) // whose error quotes what it could not parse, perhaps a password
	end := strings.IndexAny(rest, "/?#")
	switch {
	case end >= 0 && strings.Contains(rest[end:], "@"), err != nil && strings.Contains(rest, "@"):
		return nil, fmt.Errorf("bus URL %q: malformed before or after the last @; in a user name, password or token write / ? # %% @ and space as %%2F %%3F %%23 %%25 %%40 %%20", RedactURL(s))
	case scheme == "nats://" && strings.Contains(rest, "://"):
		return nil, fmt.Errorf("bus URL %q: it must begin with nats://, tls://, ws:// or wss://", RedactURL(s))
	case err != nil || !hasHostAndPort(u):
		host, _, _ := strings.Cut(rest, ":") // what follows may be a password without a host
		return nil, fmt.Errorf("bus URL %q…: malformed; the form is nats://host:port", scheme+host)
	case u.Hostname() == "":
		return nil, fmt.Errorf("bus URL %q: it has no host", RedactURL(s))
	case !slices.Contains(schemes, u.Scheme):
		return nil, fmt.Errorf("bus URL %q: %w", RedactURL(s), ErrScheme)
	}
	if u.Port() == "" {
		port := map[string]string{"ws": "80", "wss": "443"}[u.Scheme]
		if port == "" {
			port = "4222"
		}
		u.Host = strings.TrimSuffix(u.Host, ":") + ":" + port
	}
	return u, nil
}

// hasHostAndPort reports whether a URL's host is more than what url.Parse lets pass: a
// user:password: without a host, and any number as a port.
func hasHostAndPort(u *url.URL) bool {
	_, err := strconv.ParseUint(u.Port(), 10, 16)
	return (u.Port() == "" || err == nil) && (strings.HasPrefix(u.Host, "[") || !strings.Contains(u.Hostname(), ":"))
}

// RedactURL returns a bus URL without its user part, which may be a password or a token.
func RedactURL(s string) string {
	scheme, rest := splitScheme(s)
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = "xxxxx" + rest[at:]
	}
	return scheme + rest
}

// The schemes of bus URLs, and others that people write by mistake. What else looks like one
// may be part of a password.
var (
	schemes      = []string{"nats", "tls", "ws", "wss"}
	otherSchemes = []string{"http", "https", "tcp", "ssl", "mqtt"}
)

// splitScheme splits off a scheme with its "://"; "" if there is none of those known.
func splitScheme(s string) (scheme, rest string) {
	name, rest, found := strings.Cut(s, "://")
	if lower := strings.ToLower(name); found && (slices.Contains(schemes, lower) || slices.Contains(otherSchemes, lower)) {
		return name + "://", rest
	}
	return "", s
}

// RedactURLs returns URLs, redacted, as a list.
func RedactURLs(urls []string) string {
	shown := make([]string, len(urls))
	for i, u := range urls {
		shown[i] = RedactURL(u)
	}
	return strings.Join(shown, ",")
}
