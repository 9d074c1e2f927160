package bus

import "testing"

func TestRedactURL(t *testing.T) {
	for url, want := range map[string]string{
		"nats://127.0.0.1:4222":           "nats://127.0.0.1:4222",
		"nats://me:password@host:4222":    "nats://xxxxx@host:4222",
		"tls://token@host":                "tls://xxxxx@host",
		"me:password@host:4222":           "xxxxx@host:4222",
		"nats://me:p@ss@host:4222":        "nats://xxxxx@host:4222",
		"bad:pw@host:x":                   "xxxxx@host:x",
		"nats://me:100%zz@host:4222/path": "nats://xxxxx@host:4222/path",
	} {
		if got := RedactURL(url); got != want {
			t.Errorf("RedactURL(%q) = %q, want %q", url, got, want)
		}
	}
	if got, want := RedactURLs([]string{"nats://a:b@c", "d"}), "nats://xxxxx@c,d"; got != want {
		t.Errorf("RedactURLs = %q, want %q", got, want)
	}
}

func TestSubjects(t *testing.T) {
	for got, want := range map[string]string{
		Prefix("herd").Between(Records, "A", "B"):     "herd.edge.A.B",
		Prefix("herd").Between(Heartbeat, "A", "B"):   "herd.beat.A.B",
		Prefix("herd").Between(SyncRequest, "A", "B"): "herd.sync.A.B",
		Prefix("herd").Between(SyncReply, "A", "B"):   "_INBOX.B.A.answer",
		Prefix("two").Between(SyncReply, "A", "B"):    "_INBOX_two.B.A.answer",
		Prefix("two").Event("A", "up", "B"):           "two.event.A.up.B",
		Prefix("two").Event("A", "start", ""):         "two.event.A.start",
		Prefix("two").Name("A"):                       "two.name.A",
		Prefix("two").Connection("A"):                 "two/A",
	} {
		if got != want {
			t.Errorf("subject %q, want %q", got, want)
		}
	}
}
