package replica

import "time"

// repeats bounds the lines of a neighbour that we hold already, byte for byte. A neighbour
// sends each record that was news to it once. So there are no more of them than records
// that were news to us, and again as many as our map holds when the edge comes up.
type repeats struct {
	lines   int
	since   time.Time
	allowed int
	news    uint64 // journalSeq, as far as allowed includes it
}

// note counts lines, and reports false if there are too many.
func (p *repeats) note(lines, held int, news uint64) bool {
	p.lines += lines
	p.allowed += 2 * int(news-p.news)
	p.news = news
	return p.lines <= p.allowed+2*held+repeatsAllowed
}

// restart begins to count anew when an edge comes up, once in a while.
func (p *repeats) restart(news uint64, now time.Time) {
	if now.Sub(p.since) >= 10*time.Second {
		*p = repeats{since: now, news: news}
	}
}
