// Command vulncheck decides whether the vulnerabilities that govulncheck found stop a change:
//
//	govulncheck -format json ./... | go run ./cmd/internal/vulncheck
//
// It exits with status 1 if our code calls a vulnerable function that has been fixed for
// longer than a week. A younger fix, or no fix, is a warning. Vulnerable code that is only
// imported or only required is ignored.
package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// grace is the time that we give ourselves to move to a fixed version.
const grace = 7 * 24 * time.Hour

func main() {
	found, err := read(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vulncheck: read the output of govulncheck:", err)
		os.Exit(1)
	}
	if !report(os.Stdout, found, released, time.Now()) {
		os.Exit(1)
	}
}

// vulnerability is one entry of the database in one module, with the first call that reaches it.
type vulnerability struct {
	id, summary string
	module      string // stdlib for the standard library
	fixed       string // the version with the fix, empty if there is none
	symbol      string // the vulnerable function
	caller      string // our function from which the call starts
}

// frame is one step of a call, of which we need only the name.
type frame struct {
	Module, Package, Receiver, Function string
}

func (f frame) String() string {
	if f.Receiver != "" {
		return fmt.Sprintf("%s.(%s).%s", f.Package, f.Receiver, f.Function)
	}
	return f.Package + "." + f.Function
}

// read reads the JSON objects of govulncheck and returns the vulnerabilities that are called,
// in the order of their ids.
func read(r io.Reader) ([]vulnerability, error) {
	summaries := map[string]string{}
	called := map[string]vulnerability{} // by id and module
	scanned := false
	for d := json.NewDecoder(r); ; {
		var message struct {
			Config *struct {
				ScanLevel string `json:"scan_level"`
			}
			OSV     *struct{ ID, Summary string }
			Finding *struct {
				OSV          string
				FixedVersion string  `json:"fixed_version"`
				Trace        []frame // from the vulnerable function to ours
			}
		}
		err := d.Decode(&message)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if c := message.Config; c != nil {
			scanned = c.ScanLevel == "symbol"
		}
		if o := message.OSV; o != nil {
			summaries[o.ID] = o.Summary
		}
		// Without a function in it, a finding says only that the module or package is used.
		if f := message.Finding; f != nil && len(f.Trace) > 0 && f.Trace[0].Function != "" {
			v := vulnerability{
				id: f.OSV, module: f.Trace[0].Module, fixed: f.FixedVersion,
				symbol: f.Trace[0].String(), caller: f.Trace[len(f.Trace)-1].String(),
			}
			if key := v.id + " " + v.module; called[key] == (vulnerability{}) {
				called[key] = v
			}
		}
	}
	if !scanned {
		return nil, errors.New("it has no scan at symbol level")
	}
	found := slices.SortedFunc(maps.Values(called), func(a, b vulnerability) int {
		return cmp.Or(strings.Compare(a.id, b.id), strings.Compare(a.module, b.module))
	})
	for i, v := range found {
		found[i].summary = summaries[v.id]
	}
	return found, nil
}

// report prints a line for each vulnerability and returns whether the change may land.
func report(w io.Writer, found []vulnerability, released func(module, fixed string) (time.Time, error), now time.Time) bool {
	ok := true
	for _, v := range found {
		fatal, fix := judge(v, released, now)
		level := "warning"
		if fatal {
			level, ok = "error", false
		}
		fmt.Fprintf(w, "%s: %s in %s: %s; %s; %s calls %s\n", level, v.id, v.module, v.summary, fix, v.caller, v.symbol)
	}
	return ok
}

// judge returns whether a vulnerability stops a change, and what there is to say about its
// fix. A fix of unknown age counts as old.
func judge(v vulnerability, released func(module, fixed string) (time.Time, error), now time.Time) (fatal bool, fix string) {
	if v.fixed == "" {
		return false, "no fix yet"
	}
	since, err := released(v.module, v.fixed)
	if err != nil {
		return true, fmt.Sprintf("fixed in %s (%v)", v.fixed, err)
	}
	return now.Sub(since) > grace, fmt.Sprintf("fixed in %s, released %s", v.fixed, since.Format(time.DateOnly))
}

// released asks the module proxy when the first version that has a fix was released. The
// entries of golang.org/x/vulndb have no usable dates of their own: published and modified
// are set only where the database is served over HTTP.
func released(module, fixed string) (time.Time, error) {
	query := module + "@>=" + fixed // a fix may be named by a commit that was released later
	if module == "stdlib" {
		goVersion, _, _ := strings.Cut(strings.TrimPrefix(fixed, "v"), "-")
		query = fmt.Sprintf("golang.org/toolchain@v0.0.1-go%s.%s-%s", goVersion, runtime.GOOS, runtime.GOARCH)
	}
	out, err := exec.Command("go", "list", "-m", "-json", query).Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = errors.New(strings.TrimSpace(string(exit.Stderr)))
		}
		return time.Time{}, fmt.Errorf("go list %s: %w", query, err)
	}
	var version struct{ Time time.Time }
	if err := json.Unmarshal(out, &version); err != nil {
		return time.Time{}, err
	}
	if version.Time.IsZero() {
		return time.Time{}, fmt.Errorf("go list %s: no time of release", query)
	}
	return version.Time, nil
}
