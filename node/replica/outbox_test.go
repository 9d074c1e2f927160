package replica

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"herd/node/store"
)

// TestOutbox holds the outbox against a plain list.
func TestOutbox(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o outbox
		var queue []store.ID // as the outbox promises: where an store.ID stands is where it was first queued
		wanted := map[store.ID]bool{}
		left := 0 // how many have left the queue
		var end uint64
		skip := func() {
			for len(queue) > 0 && !wanted[queue[0]] {
				queue = queue[1:]
				left++
			}
		}
		id := rapid.Custom(func(t *rapid.T) store.ID { return store.ID(rapid.IntRange(0, 200).Draw(t, "id")) })
		t.Repeat(map[string]func(*rapid.T){
			"want": func(t *rapid.T) {
				id := id.Draw(t, "id")
				o.push(id)
				wanted[id] = true
				if !slices.Contains(queue, id) {
					queue = append(queue, id)
				}
			},
			"drop": func(t *rapid.T) {
				id := id.Draw(t, "id")
				o.drop(id)
				delete(wanted, id)
			},
			"pop": func(t *rapid.T) {
				got, ok := o.peek()
				skip()
				if ok != (len(queue) > 0) || ok && got != queue[0] {
					t.Fatalf("next = %d, %v, want the first of %v", got, ok, queue)
				}
				if ok {
					o.pop(got)
					delete(wanted, got)
					queue = queue[1:]
					left++
				}
			},
			"end": func(t *rapid.T) {
				if end = o.end(); end != uint64(left+len(queue)) {
					t.Fatalf("end = %d, want %d", end, left+len(queue))
				}
			},
			"move": func(t *rapid.T) { // what was there when end was last looked at
				var into outbox
				o.moveTo(&into, end)
				for skip(); len(queue) > 0 && uint64(left) < end; skip() {
					if got, ok := into.peek(); !ok || got != queue[0] {
						t.Fatalf("next that was moved = %d, %v, want %d", got, ok, queue[0])
					}
					into.pop(queue[0])
					delete(wanted, queue[0])
					queue = queue[1:]
					left++
				}
				if id, ok := into.peek(); ok {
					t.Fatalf("%d was moved, of %d", id, end)
				}
			},
			"": func(t *rapid.T) {
				if o.length != len(wanted) {
					t.Fatalf("length = %d, want %d", o.length, len(wanted))
				}
			},
		})
	})
}

// TestOutboxIsBoundedByClients: any number of updates of few clients, to a
// neighbour that takes none or few of them, cost no more than the clients do.
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
		t.Errorf("%d updates of %d clients: %d wait, in a queue of %d slots", updates, clients, o.length, cap(o.slots))
	}
}
