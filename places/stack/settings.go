package stack

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// ParseNames reads a comma-separated list of source names (HERD_PLACES). Its error names every
// fault, joined.
func ParseNames(list string) (names []string, err error) {
	var faults []error
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		switch {
		case name != Gazetteer && !isService(name):
			faults = append(faults, fmt.Errorf("%q is not one of gazetteer, google, google-new, overpass", name))
		case slices.Contains(names, name):
			faults = append(faults, fmt.Errorf("%s is listed twice", name))
		default:
			names = append(names, name)
		}
	}
	return names, errors.Join(faults...)
}

func isService(name string) bool { _, ok := services[name]; return ok }

// NeedsKey reports whether a source at its default URL needs an API key.
func NeedsKey(name string) bool { return services[name].needsKey }

// DefaultURL is the URL of a web service; nil if it has none.
func DefaultURL(name string) *url.URL {
	if services[name].base == "" {
		return nil
	}
	u, err := url.Parse(services[name].base)
	if err != nil {
		panic(err) // a constant
	}
	return u
}

// ParseURLs reads the URLs of web services (HERD_PLACES_URL): one URL, for the only web
// service in names, or a comma-separated list of source=URL. It returns them by source.
// Its error names every fault, joined, and quotes nothing that may be secret.
func ParseURLs(value string, names []string) (map[string]*url.URL, error) {
	urls := map[string]*url.URL{}
	if value == "" {
		return urls, nil
	}
	entries, err := splitURLs(value)
	if err != nil {
		return urls, err
	}
	listed := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !isService(name) })
	if entries[0].source == "" { // then it is the only one
		switch len(listed) {
		case 0: // and nothing uses it
			return urls, entries[0].check()
		case 1:
			entries[0].source = listed[0]
		default:
			return urls, errors.Join(entries[0].check(), fmt.Errorf("the URL does not say which of %s it is for: write %s=https://…, comma-separated for several",
				strings.Join(listed, ", "), listed[len(listed)-1]))
		}
	}
	var faults []error
	for _, e := range entries {
		switch {
		case !slices.Contains(listed, e.source):
			faults = append(faults, fmt.Errorf("%s is not listed in HERD_PLACES", e.source))
		case urls[e.source] != nil:
			faults = append(faults, fmt.Errorf("%s is listed twice", e.source))
		default:
			urls[e.source] = e.url
			if err := e.check(); err != nil {
				faults = append(faults, err)
			}
		}
	}
	return urls, errors.Join(faults...)
}

// RedactURLs is a value for ParseURLs as it may be shown: without user names,
// passwords, queries and fragments. A malformed value is not shown at all, since any
// part of it may be part of a password.
func RedactURLs(value string) string {
	entries, err := splitURLs(value)
	if err != nil {
		return "(malformed)"
	}
	var shown []string
	for _, e := range entries {
		text := e.redacted()
		if e.source != "" {
			text = e.source + "=" + text
		}
		shown = append(shown, text)
	}
	return strings.Join(shown, ",")
}

// entry is one URL of a list.
type entry struct {
	source string // "" if it names none, as only a single URL may
	url    *url.URL
}

func (e entry) redacted() string {
	u := url.URL{Scheme: e.url.Scheme, Host: e.url.Host, Path: e.url.Path, RawPath: e.url.RawPath}
	if e.url.User != nil {
		u.User = url.User("xxxxx")
	}
	return u.String()
}

// check reports what a base URL must not have.
func (e entry) check() error {
	if e.url.RawQuery != "" || e.url.Fragment != "" {
		return fmt.Errorf("%s has a query or a fragment, which a base URL must not have: remove it", e.redacted())
	}
	return nil
}

// splitURLs splits a value at its commas. Within a URL a comma must be written as %2C,
// and so must be, in a user name or password, every other character that ends it.
func splitURLs(value string) (entries []entry, err error) {
	items := strings.Split(value, ",")
	for i, item := range items {
		var e entry
		text := strings.TrimSpace(item)
		if source, rest, found := strings.Cut(text, "="); found && isService(source) {
			e.source, text = source, rest
		}
		// An @ behind the host may belong to a password that a / or ? has cut short.
		e.url, err = url.Parse(text)
		malformed := err != nil || e.url.Scheme != "http" && e.url.Scheme != "https" || e.url.Hostname() == "" ||
			strings.Contains(e.url.Hostname(), ":") && !strings.HasPrefix(e.url.Host, "[") || // user:password: without a host
			strings.Contains(e.url.Path+e.url.RawQuery+e.url.Fragment, "@")
		if malformed || e.source == "" && len(items) > 1 {
			return nil, fmt.Errorf("%s; in a user name or password write a comma as %%2C, / as %%2F, ? as %%3F, # as %%23, @ as %%40", wrongForm(i, len(items)))
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func wrongForm(i, of int) string {
	if of == 1 {
		return "not a URL such as https://example.org"
	}
	return fmt.Sprintf("entry %d of %d is not of the form overpass=https://example.org", i+1, of)
}
