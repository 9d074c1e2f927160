// Package stack builds the places source of a server process: the sources that the
// configuration names, each behind the layers that its terms of use call for, with
// fallback from one to the next.
//
// It also reads the settings that name these sources: ParseNames and ParseURLs.
package stack

import (
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"herd/places"
	"herd/places/gazetteer"
	"herd/places/google"
	"herd/places/googlenew"
	"herd/places/overpass"
)

// The sources by name.
const (
	Gazetteer = "gazetteer" // built in; the others are web services
	Google    = "google"
	GoogleNew = "google-new"
	Overpass  = "overpass"
)

const (
	// sourceTimeout bounds a query, over all sources. A server gives a WHATSAT a little
	// more.
	sourceTimeout = 9 * time.Second

	// Answers of Overpass and of the gazetteer may be cached; Google's terms forbid it.
	cacheTTL  = time.Hour
	cacheSize = 32 << 20 // bytes, of each source

	// inProgress is the number of queries that each web service works on at the same time.
	inProgress = 64

	// loadDelay is when the gazetteer is loaded, unless a query needs it earlier: a
	// server that has just started has a map to fetch first.
	loadDelay = 5 * time.Second
)

// Unlimited is a budget that is never spent.
const Unlimited = -1

// service is a web service that can be a source.
type service struct {
	base     string                    // the default URL; "" if there is none
	rate     int                       // the maximum calls a second of one process
	quotaEnd func(time.Time) time.Time // the end of the day, by the service, that contains a time
	needsKey bool
}

var services = map[string]service{
	Google:    {google.DefaultBase, 50, google.NextMidnight, true},
	GoogleNew: {googlenew.DefaultBase, 50, google.NextMidnight, true},
	Overpass:  {"", 20, places.NextUTCMidnight, false},
}

// Config describes a stack. New does not check it.
type Config struct {
	Sources []Source // at least one, in the order in which they are tried
	Key     string   // of Google and GoogleNew
	Budget  int      // calls a day that this process may make to each web service, or Unlimited
	Ratings bool     // GoogleNew also returns ratings, prices and opening hours
	Agent   string   // the User-Agent that web services see
	// Observe, if set, is called once per source. The function that it returns is told
	// the duration and the error of each call that no cache answered.
	Observe func(source string) func(took time.Duration, err error)
	// Refused, if set, is called once per web service. The function that it returns is called
	// for each query that is refused because too many wait.
	Refused func(source string) func()
	Log     *slog.Logger
}

// Source is one source of a stack.
type Source struct {
	Name string
	URL  *url.URL // of a web service
}

// New returns the source that all servers of a process share. It starts to load the
// gazetteer, if that is one of the sources, a few seconds later.
func New(cfg Config) places.Source {
	var choices []places.NamedSource
	for _, s := range cfg.Sources {
		log := cfg.Log.With("places", s.Name)
		var source places.Source
		if s.Name == Gazetteer {
			source = cfg.gazetteer(log)
		} else {
			source = cfg.webService(s, log)
		}
		choices = append(choices, places.NamedSource{Name: s.Name, Source: source})
	}
	return places.NewFallback(sourceTimeout, choices...)
}

func (cfg Config) gazetteer(log *slog.Logger) places.Source {
	g := gazetteer.New()
	time.AfterFunc(loadDelay, func() {
		if err := g.Load(); err != nil {
			log.Error("gazetteer not loaded", "err", err)
		}
	})
	// The cache shares answers only between equal queries, so that all servers give the
	// same answer, whatever they were asked before.
	return places.NewCache(cfg.observed(Gazetteer, g), nil, cacheTTL, cacheSize)
}

// webService puts a web service behind the layers that limit the calls to it. A query
// passes them in the order opposite to the code: concurrent equal queries are joined;
// answers are cached, if that is allowed; clients take turns; while its quota is used up, or it does not answer,
// the service is not called; transient failures are retried; a rate and a budget limit all calls.
func (cfg Config) webService(s Source, log *slog.Logger) places.Source {
	kind := services[s.Name]
	source := cfg.observed(s.Name, cfg.client(s))
	if cfg.Budget != Unlimited {
		source = places.NewBudget(source, cfg.Budget, kind.quotaEnd)
	}
	source = places.NewRetry(places.NewRateLimiter(source, kind.rate))
	if s.Name == Overpass {
		source = overpass.NewExpandingSearch(source)
	}
	source = places.NewBreaker(places.NewLogged(source, log), log)
	var refused func()
	if cfg.Refused != nil {
		refused = cfg.Refused(s.Name)
	}
	// More than can be sent in time need not wait.
	source = places.NewTurns(source, inProgress, kind.rate*int(sourceTimeout/time.Second), refused)
	if s.Name == Overpass {
		source = places.NewCache(source, places.Query.CacheKey, cacheTTL, cacheSize)
	}
	return places.NewSingleflight(source, sourceTimeout, log)
}

// client returns the source that calls a web service.
func (cfg Config) client(s Source) places.Source {
	switch s.Name {
	case Google:
		return google.New(google.Config{Base: s.URL, Key: cfg.Key, Agent: cfg.Agent})
	case GoogleNew:
		return googlenew.New(googlenew.Config{Base: s.URL, Key: cfg.Key, Agent: cfg.Agent, Ratings: cfg.Ratings})
	case Overpass:
		return overpass.New(overpass.Config{Base: s.URL, Agent: cfg.Agent})
	}
	panic(fmt.Sprintf("unknown places source %q", s.Name))
}

func (cfg Config) observed(name string, source places.Source) places.Source {
	if cfg.Observe == nil {
		return source
	}
	return places.NewObserved(source, cfg.Observe(name))
}
