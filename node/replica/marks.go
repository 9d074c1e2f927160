package replica

import (
	mathbits "math/bits"

	"herd/node/store"
)

// marks is a set of clients that finds its members in the order of their IDs. It has one bit for
// each client, as far as its largest member. The zero value is empty.
type marks struct {
	members bits
	groups  bits // the words of members that are not zero: a search passes over 4096 clients at once
	length  int
}

// allMarks is the set of all IDs below end.
func allMarks(end int) marks {
	return marks{members: ones(end), groups: ones((end + 63) / 64), length: end}
}

// ones is the bits below n.
func ones(n int) bits {
	b := make(bits, (n+63)/64)
	for i := range b {
		b[i] = ^uint64(0)
	}
	if rest := n % 64; rest > 0 {
		b[len(b)-1] = 1<<rest - 1
	}
	return b
}

func (m *marks) add(id store.ID) {
	if m.members.set(id) {
		m.groups.set(id / 64)
		m.length++
	}
}

func (m *marks) remove(id store.ID) {
	if !m.members.clear(id) {
		return
	}
	m.length--
	if m.members[id/64] == 0 {
		m.groups.clear(id / 64)
	}
}

// next is the first member from id on.
func (m *marks) next(id store.ID) (member store.ID, ok bool) {
	word := int(id / 64)
	if word >= len(m.members) {
		return 0, false
	}
	if rest := m.members[word] >> (id % 64); rest != 0 {
		return id + store.ID(mathbits.TrailingZeros64(rest)), true
	}
	for word++; word/64 < len(m.groups); word = (word/64 + 1) * 64 {
		if rest := m.groups[word/64] >> (word % 64); rest != 0 {
			word += mathbits.TrailingZeros64(rest)
			return store.ID(64*word + mathbits.TrailingZeros64(m.members[word])), true
		}
	}
	return 0, false
}
