package main

import (
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"herd/bus"
	"herd/places"
	"herd/places/gazetteer"
	"herd/places/google"
	"herd/places/googlenew"
	"herd/places/overpass"
)

const (
	// sourceTimeout limits a query to all sources. It is a little less than the time
	// that a server allows for a WHATSAT.
	sourceTimeout = 9 * time.Second

	// Responses of Overpass and the gazetteer may be cached; Google's may not.
	cacheTTL  = time.Hour
	cacheSize = 32 << 20 // bytes, for each source
	// placesAfter is how long after its start a process loads its own places.
	placesAfter = 5 * time.Second
)

// placesSettings is what HERD_PLACES and those beside it say.
type placesSettings struct {
	sources []placesSource // in the order in which they are asked
	key     string
	budget  int // calls a day that the herd spends on each web source; 0 for no bound
	ratings bool
}

// placesSource is one of them.
type placesSource struct {
	name string
	base *url.URL // nil for what needs none
}

// webSources are the sources that are asked over the web, with where they are
// by default, if anywhere, and how many calls a second a process makes at most.
var webSources = map[string]struct {
	base      string
	perSecond int
	reset     func(time.Time) time.Time // when a day of its quota ends
}{
	"google":     {google.DefaultBase, 50, google.NextMidnight},
	"google-new": {googlenew.DefaultBase, 50, google.NextMidnight},
	"overpass":   {"", 20, places.NextUTCMidnight},
}

// places checks what the environment says of places.
func (c *checker) places(e environment) (s placesSettings) {
	names := c.placesNames(e.Places)
	urls := c.placesURLs(e.PlacesURL, names)
	for _, name := range names {
		base := urls[name]
		if base == nil && webSources[name].base != "" {
			base, _ = url.Parse(webSources[name].base) // a constant
		}
		s.sources = append(s.sources, placesSource{name, base})
	}
	s.key = c.placesKey(e.PlacesKey, e.PlacesKeyFile)
	for _, name := range names {
		switch {
		case name == "overpass" && e.PlacesURL == "":
			c.fault("HERD_PLACES", "overpass needs HERD_PLACES_URL, a server's that you may use")
		case strings.HasPrefix(name, "google") && e.PlacesKey == "" && e.PlacesKeyFile == "" && urls[name] == nil:
			c.fault("HERD_PLACES", "%s needs HERD_PLACES_KEY or HERD_PLACES_KEY_FILE", name)
		}
	}
	if e.PlacesBudget != "" {
		s.budget = c.number("HERD_PLACES_BUDGET", e.PlacesBudget, 1, 1<<31-1)
	}
	switch e.PlacesRatings {
	case "on":
		s.ratings = true
	case "off":
	default:
		c.fault("HERD_PLACES_RATINGS", "%q is neither on nor off", e.PlacesRatings)
	}
	return s
}

func (c *checker) placesNames(list string) (names []string) {
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		_, web := webSources[name]
		switch {
		case !web && name != "gazetteer":
			c.fault("HERD_PLACES", "%q is none of gazetteer, google, google-new, overpass", name)
		case slices.Contains(names, name):
			c.fault("HERD_PLACES", "%s is named twice", name)
		default:
			names = append(names, name)
		}
	}
	return names
}

var (
	placesURLOf   = regexp.MustCompile(`^ *([a-z-]+)=(.*)$`)
	placesURLNext = regexp.MustCompile(`, *[a-z-]+=`)
)

// placesURLs reads HERD_PLACES_URL: one URL, for the one web source in names, or a
// list of source=URL.
func (c *checker) placesURLs(value string, names []string) map[string]*url.URL {
	urls := map[string]*url.URL{}
	if value == "" {
		return urls
	}
	var web []string
	for _, name := range names {
		if _, ok := webSources[name]; ok {
			web = append(web, name)
		}
	}
	if !placesURLOf.MatchString(value) {
		u := c.placesURL(value)
		switch len(web) {
		case 0: // nobody asks there
		case 1:
			urls[web[0]] = u
		default:
			c.fault("HERD_PLACES_URL", "whose is it, of %s? Say %s=%s, and so on for others, comma-separated",
				strings.Join(web, ", "), web[len(web)-1], redactPlacesURLs(value))
		}
		return urls
	}
	for pair := range strings.SplitSeq(value, ",") {
		switch of := placesURLOf.FindStringSubmatch(pair); {
		case of == nil:
			c.fault("HERD_PLACES_URL", "%s does not say whose it is, as overpass=https://… does", redactPlacesURLs(pair))
		case !slices.Contains(web, of[1]):
			c.fault("HERD_PLACES_URL", "%s is no web source in HERD_PLACES", of[1])
		case urls[of[1]] != nil:
			c.fault("HERD_PLACES_URL", "%s is named twice", of[1])
		default:
			urls[of[1]] = c.placesURL(of[2])
		}
	}
	if slices.Contains(names, "overpass") && urls["overpass"] == nil {
		c.fault("HERD_PLACES_URL", "overpass needs one")
	}
	return urls
}

// placesURL checks a base URL; nil on a fault.
func (c *checker) placesURL(value string) *url.URL {
	u, err := url.Parse(strings.TrimSpace(value))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.Contains(u.Host, ",") || u.RawQuery != "" || u.Fragment != "" {
		c.fault("HERD_PLACES_URL", "%s is no base URL such as https://example.org", redactPlacesURLs(value))
		return nil
	}
	return u
}

// redactPlacesURLs is HERD_PLACES_URL as it may be shown: without user parts, and
// without queries and fragments, which are faults, and where a key may be. A comma may
// be part of a password: only before source= does it begin another URL.
func redactPlacesURLs(value string) string {
	shown, begin := "", 0
	for _, next := range append(placesURLNext.FindAllStringIndex(value, -1), []int{len(value), len(value)}) {
		u := bus.RedactURL(value[begin:next[0]])
		if i := strings.IndexAny(u, "?#"); i >= 0 {
			u = u[:i]
		}
		shown += u + value[next[0]:next[1]]
		begin = next[1]
	}
	return shown
}

var placesKeyForm = regexp.MustCompile(`^[!-~]*$`)

// placesKey is the key, wherever it is.
func (c *checker) placesKey(key, file string) string {
	name := "HERD_PLACES_KEY"
	if file != "" {
		if key != "" {
			c.fault(name, "give either the key or HERD_PLACES_KEY_FILE")
		}
		name = "HERD_PLACES_KEY_FILE"
		content := c.file(name, file)
		key = strings.TrimSpace(string(content))
		if content != nil && key == "" {
			c.fault(name, "%s is empty", file)
		}
	}
	if !placesKeyForm.MatchString(key) {
		c.fault(name, "what it holds is no key: ASCII without white space")
		return ""
	}
	return key
}

// places makes the source of places that the servers of this process share.
func (p *process) places() places.Source {
	var sources []places.NamedSource
	for _, s := range p.settings.places.sources {
		log := p.log.With("places", s.name)
		if s.name == "gazetteer" {
			sources = append(sources, places.NamedSource{
				Name: s.name,
				// Keyed by the exact position: with a rounded key, servers would give different
				// responses, depending on earlier queries.
				Source: places.NewCache(p.metrics.source(s.name, loadGazetteer(log)), nil, cacheTTL, cacheSize),
			})
			continue
		}
		sources = append(sources, places.NamedSource{Name: s.name, Source: p.withLimits(s, log)})
	}
	return places.NewFallback(sourceTimeout, sources...)
}

func loadGazetteer(log *slog.Logger) places.Source {
	g := gazetteer.New()
	// Who asks for places before that sets it off. A server that has just started has
	// a map to fetch first.
	time.AfterFunc(placesAfter, func() {
		if err := g.Load(); err != nil {
			log.Error("places source failed", "err", err)
		}
	})
	return g
}

// withLimits returns a web source that sends as few requests as possible; see package
// places for the layers. Retries count towards the rate limit and the budget.
func (p *process) withLimits(s placesSource, log *slog.Logger) places.Source {
	kind := webSources[s.name]
	src := p.metrics.source(s.name, p.webSource(s))
	if p.settings.places.budget > 0 {
		src = places.NewBudget(src, p.share(p.settings.places.budget), kind.reset)
	}
	src = places.NewRetry(places.NewRateLimiter(src, kind.perSecond))
	if s.name == "overpass" {
		src = overpass.NewExpandingSearch(src)
	}
	src = places.NewLogged(places.NewBreaker(src), log)
	if s.name == "overpass" {
		src = places.NewCache(src, places.Query.CacheKey, cacheTTL, cacheSize)
	}
	return places.NewSingleflight(src, sourceTimeout)
}

func (p *process) webSource(s placesSource) places.Source {
	agent := "herd/" + strings.Trim(version(), "()")
	key := p.settings.places.key
	switch s.name {
	case "google":
		return google.New(google.Config{Base: s.base, Key: key, Agent: agent})
	case "google-new":
		return googlenew.New(googlenew.Config{Base: s.base, Key: key, Agent: agent, Ratings: p.settings.places.ratings})
	case "overpass":
		return overpass.New(overpass.Config{Base: s.base, Agent: agent})
	}
	panic(fmt.Sprintf("%s is no web source", s.name))
}

// share is what of a herd's budget this process may spend: its servers' shares.
func (p *process) share(budget int) (calls int) {
	g := p.settings.graph
	for _, s := range p.servers {
		calls += places.Share(budget, g.Index(s.name), len(g.Servers()))
	}
	return calls
}
