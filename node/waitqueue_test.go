package node

import (
	"runtime"
	"testing"
	"time"
)

// TestWaitQueue: a waiter is woken once: by advance, remove or close.
func TestWaitQueue(t *testing.T) {
	var q waitQueue
	waiters := map[string]*waiter{}
	woken := func(name string) bool {
		select {
		case <-waiters[name].woken:
			return true
		default:
			return false
		}
	}
	add := func(name string, seq uint64) {
		w := newWaiter()
		waiters[name] = &w
		q.add(seq, &w)
	}
	add("one", 1)
	add("three", 3)
	add("five", 5)
	q.advance(3)
	if !woken("one") || !woken("three") || woken("five") || q.mustWait(3) || !q.mustWait(4) {
		t.Error("advance(3) must wake the waiters for 1 and 3, and no others")
	}
	q.remove(waiters["five"])
	q.remove(waiters["five"])
	if !woken("five") || woken("five") {
		t.Error("remove must wake its waiter once")
	}
	add("late", 9)
	q.close()
	if !woken("late") || q.mustWait(100) {
		t.Error("close must wake all waiters, and nobody may wait after it")
	}
}

// TestWaitQueueReferences: the queue keeps no references to waiters that have left.
func TestWaitQueueReferences(t *testing.T) {
	var q waitQueue
	freed := make(chan struct{})
	func() {
		for i := range 100 {
			w := newWaiter()
			if i == 50 {
				runtime.AddCleanup(&w, func(struct{}) { close(freed) }, struct{}{})
			}
			q.add(uint64(i), &w)
		}
		q.advance(100)
		w := newWaiter()
		q.add(200, &w)
	}()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		runtime.GC()
		select {
		case <-freed:
			runtime.KeepAlive(&q)
			return
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("a waiter that has left is still reachable")
		}
	}
}
