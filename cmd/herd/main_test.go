package main

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"herd/bus/bustest"
)

// asProgram is an environment variable: with it, the test binary is herd.
const asProgram = "TEST_AS_PROGRAM"

// openFiles is an environment variable: the limit of open files of the program.
const openFiles = "TEST_OPEN_FILES"

func TestMain(m *testing.M) {
	if limit, err := strconv.ParseUint(os.Getenv(openFiles), 10, 64); err == nil {
		if err := setOpenFilesLimit(limit); err != nil {
			panic(err)
		}
	}
	if os.Getenv(asProgram) != "" {
		main()
	}
	if os.Getenv(asBroker) != "" {
		natsMain()
	}
	testscript.Main(m, map[string]func(){"herd": main})
}

// TestScripts runs testdata/*.txtar, the tests of the commands and examples of their use.
// TAKEN is an address that is in use, CERT and KEY are files with a certificate.
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
