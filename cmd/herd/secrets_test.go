package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSecretsNotShown: no part of a password, key or seed is shown, whatever characters it
// has, in whatever variable it was set, and whether it is valid there or not.
func TestSecretsNotShown(t *testing.T) {
	t.Parallel()
	const before, after = "Qx7ZkQ4yT", "9JpYhWv3X"
	for number, special := range []string{
		"", " ", "@", "/", "%", "#", "?", ":", ",", "\\", "[", "://", ",google=", "\"", "'", "\n", "\x1b", "\x9b", "é", "\u202e", ":1/", ":1@", ",a:",
	} {
		t.Run(fmt.Sprint("special ", number), func(t *testing.T) { // its text would be in the names of files
			t.Parallel()
			secret := before + special + after
			file := filepath.Join(t.TempDir(), "file")
			if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			quoted := filepath.Join(t.TempDir(), "quoted")
			if err := os.WriteFile(quoted, []byte(`"`+secret+`"`), 0o600); err != nil {
				t.Fatal(err)
			}
			withoutAt := strings.ReplaceAll(secret, "@", "") // what follows it would be a host
			check := func(env []string, args ...string) {
				t.Helper()
				p := start(t, append([]string{"HERD_TOPOLOGY=A", "HERD_LISTEN=127.0.0.1:0", "HERD_OPS_LISTEN=off"}, env...), args...)
				for running := true; running; { // what is valid runs until it fails to connect
					select {
					case <-p.ended:
						running = false
					case <-time.After(5 * time.Millisecond):
						if p.stderr.String() != "" {
							p.cmd.Process.Signal(os.Interrupt)
						}
					}
				}
				out := p.stdout.String() + p.stderr.String()
				for i := range len(secret) - 3 {
					ofSpecial := i >= len(before) && i+4 <= len(before+special)
					if part := secret[i : i+4]; !ofSpecial && strings.Contains(out, part) {
						t.Fatalf("herd %v with %q shows %q:\n%s", args, env, part, out)
					}
				}
				if strings.TrimSpace(out) == "" {
					t.Errorf("herd %v with %q says nothing", args, env)
				}
			}
			// Every fault of the environment is reported at once, so these can be set together.
			everywhere := func(value string) []string {
				return []string{
					"HERD_NATS_SEED=" + value, "HERD_NATS_CA=" + value, "HERD_NATS_CERT=" + value, "HERD_NATS_KEY=" + value,
					"HERD_TLS_CERT=" + value, "HERD_TLS_KEY=" + value, "HERD_PLACES_KEY_FILE=" + value,
				}
			}
			both := [][]string{{"env"}, {"serve", "A"}}
			for _, tt := range []struct {
				env      []string
				commands [][]string
			}{
				{append(everywhere(secret),
					"HERD_NATS_URL=nats://user:"+secret+"@127.0.0.1:1", "HERD_PLACES=google", "HERD_PLACES_URL=https://user:"+secret+"@127.0.0.1:1",
					`HERD_PLACES_KEY="`+secret+`"`), both},
				{append(everywhere(file),
					"HERD_NATS_URL=nats://"+secret+"@127.0.0.1:1", "HERD_PLACES=google", "HERD_PLACES_URL=https://127.0.0.1:1/?key="+secret), both},
				{append(everywhere(quoted),
					"HERD_NATS_URL=user:"+secret+"@127.0.0.1:1", "HERD_PLACES=google", "HERD_PLACES_URL=google=https://"+secret+"@127.0.0.1:1"), both},
				{append(everywhere(secret+"/"+secret),
					`HERD_NATS_URL="nats://user:`+secret+`@127.0.0.1:1"`, "HERD_PLACES=google", `HERD_PLACES_URL="https://u:`+secret+`@127.0.0.1:1"`), both},
				{[]string{"HERD_NATS_CREDS=" + secret, "HERD_NATS_SEED=/" + secret}, both},
				{[]string{"HERD_NATS_URL=nats://user:" + secret + "@127.0.0.1:1"}, both},
				{[]string{
					"HERD_NATS_URL=nats://127.0.0.1:1,nats://user:" + secret + "@127.0.0.1:1", "HERD_PLACES=google", "HERD_PLACES_KEY=" + secret,
				}, append(both, []string{"status"})},
				{[]string{"HERD_NATS_URL=nats://user:" + withoutAt, "HERD_PLACES=google", "HERD_PLACES_URL=https://user:" + withoutAt}, both}, // no host
			} {
				for _, args := range tt.commands {
					check(tt.env, args...)
				}
			}
		})
	}
}
