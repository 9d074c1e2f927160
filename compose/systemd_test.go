package compose_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// units are the units of compose/systemd, as they are verified: a template needs an instance.
var units = map[string]string{"herd@.service": "herd@Welsh.service", "herd-nats.service": "herd-nats.service"}

// worstExposure is ten times the highest exposure level that systemd-analyze security may
// find, from 0 to 100.
const worstExposure = "15"

// TestUnits verifies the units and how hardened they are, with stand-ins for the programs.
func TestUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("skipped: systemd-analyze is not installed, so the units are not verified")
	}
	dir := t.TempDir()
	for _, program := range []string{"herd", "nats-server"} {
		if err := os.WriteFile(filepath.Join(dir, program), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	analyze := func(args ...string) (string, error) {
		out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
		return string(out), err
	}
	for file, unit := range units {
		text := strings.ReplaceAll(string(read(t, "systemd/"+file)), "/usr/local/bin/", dir+"/")
		if !strings.Contains(text, "ExecStart="+dir+"/") {
			t.Errorf("%s does not start a program in /usr/local/bin", file)
		}
		path := filepath.Join(dir, unit)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := analyze("verify", "--man=no", "--recursive-errors=no", path); err != nil || strings.Contains(out, unit) {
			t.Errorf("systemd-analyze verify %s: %v\n%s", file, err, out)
		}
		if out, err := analyze("security", "--offline=yes", "--no-pager", "--threshold="+worstExposure, path); err != nil {
			t.Errorf("systemd-analyze security %s: %v\n%s", file, err, out)
		}
	}
}
