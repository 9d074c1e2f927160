package places

// ClientsOf returns the number of clients that t remembers.
func ClientsOf(t *Turns) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.clients)
}
