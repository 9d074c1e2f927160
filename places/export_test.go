package places

// ClientsOf returns the number of clients that t remembers.
func ClientsOf(t *Turns) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.clients)
}

// LeaveForgotten takes back a query of a client that t does not remember.
func LeaveForgotten(t *Turns) bool { return t.leave("forgotten", &turn{}) }
