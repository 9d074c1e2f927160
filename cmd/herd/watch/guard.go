package watch

import (
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// HostsVariable is the setting of Config.Hosts.
const HostsVariable = "HERD_WATCH_HOSTS"

// policy is the page's Content-Security-Policy: it loads nothing from elsewhere, and no other page
// shows it in a frame.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// setHeaders sets what all responses have. There is no Cross-Origin-Opener-Policy: with one, browsers start another process for
// the page, and the first paint comes 200 ms later. Who opens the page learns nothing from its window: it has no frames, and
// takes no messages.
func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store") // files set their own
}

// Guard makes another handler of the page's origin refuse requests for hosts that the page refuses.
func (p *Page) Guard(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status, why := p.refuseHost(r); status != 0 {
			http.Error(w, why, status)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// refuse says why a request is refused; the status is 0 if it is not.
func (p *Page) refuse(r *http.Request) (status int, why string) {
	if status, why := p.refuseHost(r); status != 0 {
		return status, why
	}
	if site := r.Header.Get("Sec-Fetch-Site"); strings.HasPrefix(r.URL.Path, "/api/") && site != "" && site != "same-origin" && site != "none" {
		return http.StatusForbidden, "a page of another origin may not ask for this"
	}
	return 0, ""
}

// refuseHost says why a request is refused for its Host header; the status is 0 if it is not.
func (p *Page) refuseHost(r *http.Request) (status int, why string) {
	host := hostname(r.Host)
	if !isLocalhost(host) && net.ParseIP(host) == nil && !slices.ContainsFunc(p.cfg.Hosts, func(name string) bool { return strings.EqualFold(name, host) }) {
		// A name that somebody else's DNS resolves to this host makes a page of theirs one of the
		// same origin.
		return http.StatusMisdirectedRequest, fmt.Sprintf("the host %.80q is not served here: use an IP address or localhost, or add the name to %s", host, HostsVariable)
	}
	return 0, ""
}

// hostname is a Host header without its port, and without the dot at the end of a full name.
func hostname(host string) string {
	u := url.URL{Host: host}
	return strings.TrimSuffix(u.Hostname(), ".")
}

func isLocalhost(host string) bool { return strings.EqualFold(host, "localhost") }

// proxyHeaders are headers that proxies add, beside those that begin with X-Forwarded.
var proxyHeaders = []string{"Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "Cf-Connecting-Ip", "True-Client-Ip"}

// mayControl reports whether a request may change the herd: it comes from this host, directly. A
// request through a proxy has headers that say so, and one through an SSH tunnel comes from this host. No browser
// sends HTTP/1.0, but proxies do. A proxy on this host that sends HTTP/1.1 and no such header cannot be told from a browser.
func (p *Page) mayControl(r *http.Request) bool {
	if p.cfg.Controls == nil || !r.ProtoAtLeast(1, 1) {
		return false
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !remote.Addr().Unmap().IsLoopback() {
		return false
	}
	if host := hostname(r.Host); !isLocalhost(host) {
		if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
			return false
		}
	}
	for name := range r.Header {
		if slices.Contains(proxyHeaders, name) || strings.HasPrefix(name, "X-Forwarded") {
			return false
		}
	}
	return true
}

// refuseControl says why a request to change the herd is refused; "" if it is not. A page of another
// origin can send neither this content type nor these headers without asking first, and nobody
// answers such questions.
func (p *Page) refuseControl(r *http.Request) string {
	if p.cfg.Controls == nil {
		return "this page only shows the herd: herd up has one that can change it"
	}
	if !p.mayControl(r) {
		return "only a browser on the same host may change the herd, without a proxy"
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return "the content type must be application/json"
	}
	site, origin := r.Header.Get("Sec-Fetch-Site"), r.Header.Get("Origin")
	if site == "" && origin == "" {
		return "the request must have a header Sec-Fetch-Site or Origin, as browsers send it"
	}
	if site != "" && site != "same-origin" || origin != "" && !sameOrigin(origin, r.Host) {
		return "a page of another origin may not change the herd"
	}
	return ""
}

// sameOrigin reports whether an Origin header is that of a page of host.
func sameOrigin(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host == host && (u.Scheme == "http" || u.Scheme == "https")
}
