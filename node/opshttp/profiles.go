package opshttp

import (
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/url"
	"strconv"
)

// maxProfile is the length of the longest profile in seconds.
const maxProfile = 60

// addProfiles serves /debug/pprof/ to programs on this host, and to nobody whom a web page
// on it sends.
func addProfiles(mux *http.ServeMux) {
	for pattern, handler := range map[string]http.HandlerFunc{
		"GET /debug/pprof/":        pprof.Index,
		"GET /debug/pprof/cmdline": pprof.Cmdline,
		"GET /debug/pprof/profile": pprof.Profile,
		"GET /debug/pprof/symbol":  pprof.Symbol,
		"POST /debug/pprof/symbol": pprof.Symbol, // go tool pprof does that
		"GET /debug/pprof/trace":   pprof.Trace,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if status, why := refuseProfile(r); status != 0 {
				http.Error(w, why, status)
				return
			}
			handler(w, r)
		})
	}
}

// refuseProfile says why a request for a profile is refused; the status is 0 if it is not.
func refuseProfile(r *http.Request) (status int, why string) {
	if host := hostname(r.Host); host != "localhost" && net.ParseIP(host) == nil {
		// A name that somebody else's DNS resolves to this host makes a page of theirs one of
		// the same origin.
		return http.StatusForbidden, fmt.Sprintf("the host %.80q is neither an IP address nor localhost", host)
	}
	if crossOrigin(r) {
		return http.StatusForbidden, "a page of another origin may not ask for profiles"
	}
	if text := r.URL.Query().Get("seconds"); text != "" {
		if seconds, err := strconv.ParseFloat(text, 64); err != nil || !(seconds >= 0 && seconds <= maxProfile) { // NaN is refused, too
			return http.StatusBadRequest, fmt.Sprintf("seconds: %.80q is not a number from 0 to %d", text, maxProfile)
		}
	}
	return 0, ""
}

// crossOrigin reports whether a browser says that a page of another origin makes the
// request. Older browsers tell by Referer only.
func crossOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none": // none: typed, or a bookmark
	default:
		return true
	}
	for _, name := range []string{"Origin", "Referer"} {
		if text := r.Header.Get(name); text != "" {
			if u, err := url.Parse(text); err != nil || u.Host != r.Host {
				return true
			}
		}
	}
	return false
}

// hostname is a Host header without its port.
func hostname(host string) string {
	u := url.URL{Host: host}
	return u.Hostname()
}
