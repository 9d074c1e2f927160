package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"herd/bus/bustest"
)

// asProgram, set in its environment, makes the test binary be the program.
const asProgram = "TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	if os.Getenv(asBroker) != "" {
		natsMain()
	}
	testscript.Main(m, map[string]func(){"herd": main})
}

// TestScripts runs testdata/*.txtar: the commands' tests, and examples of their
// use. TAKEN is an address where somebody listens, FREE one where nobody does.
func TestScripts(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			cert, key, err := bustest.WriteCertificate(e.WorkDir)
			if err != nil {
				return err
			}
			e.Setenv("TAKEN", taken.Addr().String())
			e.Setenv("CERT", filepath.Base(cert))
			e.Setenv("KEY", filepath.Base(key))
			return nil
		},
	})
}
