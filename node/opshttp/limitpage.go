package opshttp

import "net/http"

// LimitPage makes a page leave connections to other requests. A server of NewServer answers as many requests of
// the page at a time as it has room for, and further ones with 429. A request counts until its reply has been written.
func LimitPage(page http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if on, ok := r.Context().Value(connKey{}).(accepted); ok && !on.by.beginPage(on) {
			http.Error(w, "the page has too many requests at a time: ask again later, or close other pages of this herd", http.StatusTooManyRequests)
			return
		}
		page.ServeHTTP(w, r)
	})
}

// beginPage reports whether one more request of a page may be answered, and notes it if so.
func (c *connections) beginPage(on accepted) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	count := 0
	for _, one := range c.open {
		if one.page {
			count++
		}
	}
	served := c.open[on.conn]
	if served == nil || count >= c.pageRequests {
		return false
	}
	served.page = true
	return true
}
