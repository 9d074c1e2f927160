package main

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"herd/places/stack"
)

// places checks the variables HERD_PLACES_*. The configuration lacks what depends on
// the process: process.placesConfig completes it. budget is that of the whole herd.
func (c *checker) places(e environment) (cfg stack.Config, budget int) {
	names, err := stack.ParseNames(e.Places)
	c.faultEach("HERD_PLACES", err)
	var urls map[string]*url.URL
	if !c.isQuoted("HERD_PLACES_URL", e.PlacesURL) {
		urls, err = stack.ParseURLs(e.PlacesURL, names)
		c.faultEach("HERD_PLACES_URL", err)
	}
	for _, name := range names {
		u := urls[name]
		if u == nil {
			u = stack.DefaultURL(name)
		}
		cfg.Sources = append(cfg.Sources, stack.Source{Name: name, URL: u})
		if stack.NeedsKey(name) && e.PlacesKey == "" && e.PlacesKeyFile == "" && urls[name] == nil {
			c.fault("HERD_PLACES", "%s needs HERD_PLACES_KEY or HERD_PLACES_KEY_FILE", name)
		}
	}
	if err == nil && slices.Contains(names, stack.Overpass) && urls[stack.Overpass] == nil {
		c.fault("HERD_PLACES", "overpass needs HERD_PLACES_URL, the URL of an Overpass server that you may use")
	}
	cfg.Key = c.placesKey(e.PlacesKey, e.PlacesKeyFile)
	budget = stack.Unlimited
	if e.PlacesBudget != "" {
		budget = c.number("HERD_PLACES_BUDGET", e.PlacesBudget, 1, 1<<31-1)
	}
	switch e.PlacesRatings {
	case "on":
		cfg.Ratings = true
	case "off":
	default:
		c.fault("HERD_PLACES_RATINGS", "%q is not one of on, off", e.PlacesRatings)
	}
	return cfg, budget
}

var placesKeyForm = regexp.MustCompile(`^[!-~]*$`)

// placesKey returns the API key, from the variable or from the file.
func (c *checker) placesKey(key, file string) string {
	name := "HERD_PLACES_KEY"
	if file != "" {
		if key != "" {
			c.fault(name, "set either this or HERD_PLACES_KEY_FILE")
		}
		name = "HERD_PLACES_KEY_FILE"
		content := c.file(name, file)
		key = strings.TrimSpace(string(content))
		if content != nil && key == "" {
			c.fault(name, "%s is empty", file)
		}
	}
	if c.isQuoted(name, key) {
		return ""
	}
	if !placesKeyForm.MatchString(key) {
		c.fault(name, "the key is malformed: it must be ASCII without white space")
		return ""
	}
	return key
}
