package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"herd/bus/topology"
	"herd/cmd/herdbench/rivals"
)

func TestMain(m *testing.M) {
	rivals.RunChild()
	if runtime.GOOS != "linux" {
		fmt.Println("skipped: herdbench runs on Linux only")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// runForResults runs the command, which must succeed, and returns its results, its output,
// and the results as JSON.
func runForResults(t *testing.T, args ...string) (r Results, output string, text []byte) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "results.json")
	var out, note bytes.Buffer
	if got := run(t.Context(), append(args, "--json", file), &out, &note); got != 0 {
		t.Fatalf("exit status %d\n%s%s", got, out.String(), note.String())
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return r, out.String(), text
}

// TestRun runs small versions of the sections, except scale, whose herds of 50 are too
// large for a test. The package rivals tests all rivals.
func TestRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	plot := filepath.Join(dir, "plot.svg")
	r, out, text := runForResults(t, "--sections", "comparison,latency,memory,restart,near,follow", "--only", "herd", "--rounds", "1", "--count", "1000", "--clients", "100",
		"--records", "2000", "--idle", "20", "--samples", "10", "--duration", "100ms", "--svg", plot)
	if c := r.Comparison; len(c.Rivals) != 2 || c.Rivals[1].Name != "herd" || len(c.Rivals[1].Workloads) != len(workloads) {
		t.Errorf("comparison %+v", r.Comparison)
	} else if h := c.Rivals[1]; h.Lost+h.Differing != 0 || h.Workloads["P64 all"].Replicated <= 0 || h.Workloads["P64 all"].OfM <= 0 {
		t.Errorf("herd %+v", h)
	}
	if n := r.Near; n.Requests <= 0 || n.P99 < n.P50 || len(n.Updates) != len(nearRates) || n.Updates[3].Asked != 1000 {
		t.Errorf("near %+v", r.Near)
	}
	if f := r.Follow; f.Hop <= 0 || f.Follower <= 0 || f.Snapshot <= 0 || len(f.CPU) != 3 || len(f.CPU[2].PerUpdate) != 1 || len(f.Dump) != 3 || f.Dump[1].Seconds <= 0 {
		t.Errorf("follow %+v", f)
	}
	if len(r.Latency.Ways) != 8 || len(r.Restart.Ready) != 1 || r.Memory.Records != 2000 {
		t.Errorf("%s", text)
	}
	for _, want := range []string{"| herd ", "a lone update is seen", "idle connection", "restarted"} {
		if !strings.Contains(out, want) {
			t.Errorf("%s\nhas no %q", out, want)
		}
	}
	if svg, err := os.ReadFile(plot); err != nil || !bytes.Contains(svg, []byte(">herd</text>")) {
		t.Errorf("plot: %v\n%s", err, svg)
	}
}

// TestHostile runs some of the attacks for a short time.
func TestHostile(t *testing.T) {
	t.Parallel()
	attacks := "8 x blank lines,1000 silent handshakes,status requests,operators' HTTP"
	r, out, text := runForResults(t, "--sections", "hostile", "--attacks", attacks, "--duration", "300ms")
	if len(r.Hostile.Attacks) != 4 {
		t.Errorf("%d attacks, want 4\n%s", len(r.Hostile.Attacks), text)
	}
	for _, a := range r.Hostile.Attacks {
		if s := a.Present; s.P50 <= 0 || s.HonestP50 <= 0 || s.Resident <= 0 || s.Converged <= 0 {
			t.Errorf("%+v", a)
		}
		if !strings.Contains(out, "| "+a.Name) {
			t.Errorf("%s\nhas no %q", out, a.Name)
		}
	}
}

// TestBuilds compares a build with itself.
func TestBuilds(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "herd")
	if text, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "herd/cmd/herd").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	r, out, results := runForResults(t, "--sections", "builds", "--old", program, "--new-env", "GOGC=100", "--rounds", "1", "--count", "1000", "--clients", "100",
		"--records", "2000", "--idle", "20", "--duration", "100ms")
	if len(r.Builds.Figures) != 17 {
		t.Errorf("%d figures, want 17\n%s", len(r.Builds.Figures), results)
	}
	for _, f := range r.Builds.Figures {
		if len(f.Old) == 0 || len(f.Old) != len(f.New) {
			t.Errorf("%s: %v and %v, want as many values, and some", f.Name, f.Old, f.New)
		}
	}
	if want := "| P64 all five, CPU"; !strings.Contains(out, want) {
		t.Errorf("%s\nhas no %q", out, want)
	}
}

func TestRatios(t *testing.T) {
	t.Parallel()
	r := BuildResults{Rounds: 3}
	for _, v := range [][2]float64{{10, 11}, {20, 30}, {40, 36}} {
		r.add(0, reading{"rate", v[0], 0})
		r.add(1, reading{"rate", v[1], 0})
	}
	if got, want := r.finish(), "| rate |  20 |  30 |   1.100 | 0.900 | 1.500 |\n"; !strings.HasSuffix(got, want) {
		t.Errorf("got\n%s\nwant, at its end,\n%s", got, want)
	}
	// A short run may use no measurable time. JSON has no NaN.
	if got := ratios([]float64{1, 0, 3}, []float64{0, 0, 2}); !slices.Equal(got, []float64{1.5}) || ratio(1, 0) != 0 || ratio(0, 0) != 0 {
		t.Errorf("with values of 0: %v, %v, %v", got, ratio(1, 0), ratio(0, 0))
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--only nobody":            `"nobody" is not a rival`,
		"--rounds 0 --duration 0s": "--rounds: 0 is not between 1",
		"--sections all":           "--sections must be one of",
		"--sections builds":        "needs --old",
		"--new-env =x":             `"=x" is not NAME=VALUE`,
		"--attacks nothing":        `"nothing" is not an attack`,
		"--dance":                  "unknown flag",
	} {
		var note strings.Builder
		if got := run(t.Context(), strings.Fields(args), io.Discard, &note); got != 2 || !strings.Contains(note.String(), want) {
			t.Errorf("herdbench %s: %d, %q, which has no %q", args, got, note.String(), want)
		}
	}
}

func TestTable(t *testing.T) {
	got := table{head: []string{"", "a µ"}, rows: [][]string{{"row", "1"}, {"longer", "–"}}}.String()
	want := "|        | a µ |\n|--------|----:|\n| row    |   1 |\n| longer |   – |\n"
	if got != want {
		t.Errorf("\n%s\nwant\n%s", got, want)
	}
	for v, want := range map[float64]string{0: "–", 1234567.8: "1,234,568", 999: "999", -236134: "-236,134"} {
		if got := number(v, 0); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
	if got := number(1234.5, 2); got != "1,234.50" {
		t.Errorf("number = %q", got)
	}
	if got := median([]float64{5, 1, 2, 4}); got != 3 {
		t.Errorf("median = %v", got)
	}
}

// TestRing: each server has degree 4.
func TestRing(t *testing.T) {
	for _, n := range []int{5, 10, 50} {
		g, err := topology.Load(ring(n))
		if err != nil {
			t.Fatal(err)
		}
		if len(g.Servers()) != n {
			t.Errorf("%d servers, want %d", len(g.Servers()), n)
		}
		for _, s := range g.Servers() {
			if len(g.Neighbours(s)) != 4 {
				t.Errorf("ring(%d): %s has %d neighbours", n, s, len(g.Neighbours(s)))
			}
		}
	}
}
