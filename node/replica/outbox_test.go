package replica

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"herd/node/store"
)

// TestOutbox compares the outbox with a list and a set.
func TestOutbox(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o outbox
		var slots []store.ID // that have not left, oldest first
		queued := map[store.ID]bool{}
		left := 0 // slots that have left
		var end uint64
		skip := func() { // slots whose client is not queued any more
			for len(slots) > 0 && !queued[slots[0]] {
				slots = slots[1:]
				left++
			}
		}
		id := rapid.Custom(func(t *rapid.T) store.ID { return store.ID(rapid.IntRange(0, 200).Draw(t, "id")) })
		t.Repeat(map[string]func(*rapid.T){
			"push": func(t *rapid.T) {
				id := id.Draw(t, "id")
				o.push(id)
				queued[id] = true
				if !slices.Contains(slots, id) {
					slots = append(slots, id)
				}
			},
			"drop": func(t *rapid.T) {
				id := id.Draw(t, "id")
				o.drop(id)
				delete(queued, id)
			},
			"pop": func(t *rapid.T) {
				got, ok := o.peek()
				skip()
				if ok != (len(slots) > 0) || ok && got != slots[0] {
					t.Fatalf("peek = %d, %v, want the first of %v", got, ok, slots)
				}
				if ok {
					o.pop(got)
					delete(queued, got)
					slots = slots[1:]
					left++
				}
			},
			"end": func(t *rapid.T) {
				if end = o.end(); end != uint64(left+len(slots)) {
					t.Fatalf("end = %d, want %d", end, left+len(slots))
				}
			},
			"move": func(t *rapid.T) { // up to the last end
				var into outbox
				o.moveTo(&into, end)
				for skip(); len(slots) > 0 && uint64(left) < end; skip() {
					if got, ok := into.peek(); !ok || got != slots[0] {
						t.Fatalf("moved: peek = %d, %v, want %d", got, ok, slots[0])
					}
					into.pop(slots[0])
					delete(queued, slots[0])
					slots = slots[1:]
					left++
				}
				if id, ok := into.peek(); ok {
					t.Fatalf("%d was moved, but its slot is not before position %d", id, end)
				}
			},
			"": func(t *rapid.T) {
				if o.length != len(queued) {
					t.Fatalf("length = %d, want %d", o.length, len(queued))
				}
			},
		})
	})
}

// TestOutboxIsBoundedByClients: the size of an outbox depends on the number of clients,
// not on the number of updates, also if few or none are taken out.
func TestOutboxIsBoundedByClients(t *testing.T) {
	const clients, updates = 3000, 1_000_000
	var o outbox
	for i := range updates {
		o.push(store.ID(i % clients))
		if i%3 == 0 {
			o.drop(store.ID(i * 7 % clients))
		}
		if i%5 == 0 {
			if id, ok := o.peek(); ok {
				o.pop(id)
			}
		}
	}
	if o.length > clients || cap(o.slots) > 8*clients {
		t.Errorf("%d updates of %d clients: %d are queued, in %d slots", updates, clients, o.length, cap(o.slots))
	}
}
