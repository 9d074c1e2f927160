package bus

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

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

// secrets are passwords and tokens with every character that has a meaning in a URL or a
// list of them.
var secrets = []string{"zqa", "zqa@zqb", "zqa/zqb", "12/34@zqb", "zqa#zqb", "12#zqb", "zqa?zqb", "100%zqb", "zqa zqb", "zqa://zqb", "zqa:zqb", "[zqa", "zqaé", "zqa%40zqb", "zqa,zqb", "zqa\tzqb", `zqa"zqb`, "\x1b[zqa"}

// TestParseURLSecrets: whatever stands in a URL's user part, none of it becomes a host or
// path, and no error and no redacted URL shows it.
func TestParseURLSecrets(t *testing.T) {
	for _, secret := range secrets {
		for _, format := range []string{"nats://me:%s@host:4222", "tls://%s@host", "me:%s@host:4222", "nats://me:%s@host:x", "%s@host", "ws://me:%s@host/path"} {
			s := fmt.Sprintf(format, secret)
			u, err := ParseURL(s)
			shown := RedactURL(s)
			if err != nil {
				shown += err.Error()
			} else {
				shown += u.Host + u.Path + u.RawQuery + u.Fragment
				if u.Hostname() != "host" {
					t.Errorf("ParseURL(%q) has host %q", s, u.Host)
				}
				if again, err := ParseURL(u.String()); err != nil || again.User.String() != u.User.String() {
					t.Errorf("ParseURL(%q) reads as %v, %v", u, again, err)
				}
			}
			if strings.Contains(shown, "zq") || strings.Contains(shown, "\x1b") {
				t.Errorf("%q shows its secret: %q", s, shown)
			}
		}
	}
}

func TestParseURL(t *testing.T) {
	for s, want := range map[string]string{
		"nats://127.0.0.1:4222":     "nats://127.0.0.1:4222",
		"127.0.0.1":                 "nats://127.0.0.1:4222",
		"tls://me:p%2Fw@host":       "tls://me:p%2Fw@host:4222",
		"wss://host/path":           "wss://host:443/path",
		"ws://[::1]":                "ws://[::1]:80",
		"nats://tok%40en@host:4223": "nats://tok%40en@host:4223",
	} {
		if u, err := ParseURL(s); err != nil || u.String() != want {
			t.Errorf("ParseURL(%q) = %v, %v, want %q", s, u, err, want)
		}
	}
	for _, s := range []string{"", "nats://", "nats://:4222", "nats://me:12/34@host", "nats://me:12#34@host", "nats://host:x", "nats://host:70000", "nats://me:12:34", "http://host:4222", "nats://me:pw@host:4222/?x=a@b"} {
		if u, err := ParseURL(s); err == nil {
			t.Errorf("ParseURL(%q) = %v, want an error", s, u)
		}
	}
	for s, want := range map[string]bool{"http://me:zq@host": true, "tcp://host:1": true, "http://me:zq": false, "http://me:12/34@host": false, "huh://host": false} {
		if _, err := ParseURL(s); errors.Is(err, ErrScheme) != want || strings.Contains(fmt.Sprint(err), "zq") {
			t.Errorf("ParseURL(%q): %v; only its scheme is wrong: %v", s, err, want)
		}
	}
}
