package replica

import "slices"

// chooseSmall makes the map of one server too small for all clients. It passes on only what
// it holds, so the others must be connected without it.
func (h *herd) chooseSmall() {
	h.small, h.limit = h.rng.IntN(len(h.servers)), 1000+h.rng.Int64N(6000)
	if h.small == h.hostile || !h.restConnected(h.graphs[0]) {
		h.small = nobody
	}
}

// smallAgrees reports whether the server with the small map holds what the others hold, and
// says that its map is full if that is not all.
func (h *herd) smallAgrees() bool {
	if h.small == nobody {
		return true
	}
	small := h.servers[h.small]
	i := slices.IndexFunc(h.servers, func(s *simServer) bool { return !h.excluded(number(s.name)) })
	all := sortedLines(h.servers[i].Map())
	for line := range small.Map().Lines() {
		if _, found := slices.BinarySearch(all, line); !found {
			return false
		}
	}
	return small.Map().Len() == len(all) || small.Full() != ""
}

// enlarge gives the small map enough memory, at once or by a restart.
func (h *herd) enlarge() {
	s := h.servers[h.small]
	h.limit = 1 << 20
	if h.rng.IntN(2) == 0 {
		h.restart(h.small, sortedLines(s.Map()))
	} else {
		s.store.SetLimit(h.limit)
	}
	h.small = nobody
}
