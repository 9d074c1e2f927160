package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"

	"herd/bus/access"
	"herd/bus/access/keydir"
)

// report says what was written and how to use it. Its commands work as pasted into a
// POSIX shell, whatever its directory: all paths are absolute.
func (b busConfigCommand) report(s settings, cfg keydir.Config, files []keydir.File) (string, error) {
	dir, err := filepath.Abs(b.Dir)
	if err != nil {
		return "", err
	}
	out := &strings.Builder{}
	fmt.Fprintf(out, "%s, for herd %s\n\n", b.Dir, s.topology)
	w := tabwriter.NewWriter(out, 2, 0, 2, ' ', 0)
	for _, f := range files {
		fmt.Fprintf(w, "  %s\t%s\n", f.Name, f.Status)
	}
	w.Flush()
	if b.Apart != "" {
		fmt.Fprintf(out, "\nA copy of each server's key and each broker's configuration: %s\n", shellWord(filepath.Join(b.Apart, "*")))
	}
	if inContainer() {
		containerHints(out, dir)
		return out.String(), nil
	}
	b.brokerHints(out, cfg, dir)
	err = b.clientHints(out, s, cfg, dir)
	return out.String(), err
}

// brokerHints prints how to start and to reload the brokers. Each has a pid file, because
// nats-server --signal alone fails where several nats-servers run.
func (b busConfigCommand) brokerHints(out *strings.Builder, cfg keydir.Config, dir string) {
	brokers := "the broker"
	if len(cfg.Brokers) > 1 {
		brokers = "the brokers"
	}
	each := func(format string, args func(conf, pid string) []any) {
		for i := range cfg.Brokers {
			conf := filepath.Join(dir, cfg.ConfFile(i))
			if len(b.Hosts) > 0 {
				fmt.Fprintf(out, "  On %s:\n", b.Hosts[i])
			}
			fmt.Fprintf(out, format, args(shellWord(conf), shellWord(strings.TrimSuffix(conf, ".conf")+".pid"))...)
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "\nStart %s%s:\n\n", brokers, installNATSHint())
	if len(b.Hosts) > 0 {
		fmt.Fprintf(out, "Each host needs its configuration at the same path.\n\n")
	}
	each("  nats-server -c %s -P %s\n", func(conf, pid string) []any { return []any{conf, pid} })
	if runtime.GOOS == "windows" {
		fmt.Fprintf(out, "After a change, restart %s.\n\n", brokers) // only a Windows service gets signals
		return
	}
	fmt.Fprintf(out, "After a change, reload %s. Clients whose permissions do not change stay connected:\n\n", brokers)
	each("  nats-server --signal reload=%s\n", func(_, pid string) []any { return []any{pid} })
}

// installNATSHint says how to install nats-server, if it is not on the PATH.
func installNATSHint() string {
	if _, err := exec.LookPath("nats-server"); err == nil {
		return ""
	}
	const module = "github.com/nats-io/nats-server/v2"
	version := "latest"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == module {
				version = m.Version
			}
		}
	}
	return fmt.Sprintf(" (nats-server is not on the PATH: go install %s@%s)", module, version)
}

// clientHints prints how servers and operators connect to the brokers.
func (b busConfigCommand) clientHints(out *strings.Builder, s settings, cfg keydir.Config, dir string) error {
	var urls []string
	for i, broker := range cfg.Brokers {
		urls = append(urls, "nats://"+b.publicAddress(i, broker))
	}
	herd, err := s.shellVariables()
	if err != nil {
		return err
	}
	herd = append(herd, "HERD_NATS_URL="+shellWord(strings.Join(urls, ",")))
	tool := []string{"nats", "--server", shellWord(urls[0])}
	fmt.Fprint(out, "Servers, operators (ops) and readers (guest) use their own keys; a server needs no other")
	if b.TLSCert != "" {
		fmt.Fprint(out, ". Put your own files in place of\nCA.pem, the CA of the broker's certificate")
		herd, tool = append(herd, "HERD_NATS_CA=CA.pem"), append(tool, "--tlsca", "CA.pem")
	}
	if b.TLSCA != "" {
		fmt.Fprint(out, ", and of CLIENT.pem and CLIENT-KEY.pem, the client's certificate and key")
		herd, tool = append(herd, "HERD_NATS_CERT=CLIENT.pem", "HERD_NATS_KEY=CLIENT-KEY.pem"), append(tool, "--tlscert", "CLIENT.pem", "--tlskey", "CLIENT-KEY.pem")
	}
	fmt.Fprint(out, ":\n\n")
	program := programCommand()
	as := func(words []string, option, user string) string {
		return strings.Join(append(slices.Clone(words), option+shellWord(keydir.SeedFile(dir, user))), " ")
	}
	first := s.graph.Servers()[0]
	fmt.Fprintf(out, "  %s %s serve %s\n", as(herd, "HERD_NATS_SEED=", first), program, first)
	fmt.Fprintf(out, "  %s %s status\n", as(herd, "HERD_NATS_SEED=", access.OpsUser), program)
	fmt.Fprintf(out, "  %s sub '%s.>'\n", as(tool, "--nkey ", access.GuestUser), s.prefix)
	fmt.Fprintf(out, "  %s server list\n", as(tool, "--nkey ", access.SystemUser))
	if runtime.GOOS == "windows" {
		fmt.Fprint(out, "\nThese lines are for a POSIX shell; in others, set the variables first.\n")
	}
	return nil
}

// shellVariables returns the variables, as words of a shell, that a command needs to
// describe the same herd from another directory.
func (s settings) shellVariables() (words []string, err error) {
	isDefault := func(v variable) bool { return v.name == "HERD_TOPOLOGY" && v.fallback == s.topology }
	if !slices.ContainsFunc(variables(), isDefault) {
		spec, err := s.absoluteTopology()
		if err != nil {
			return nil, err
		}
		words = append(words, "HERD_TOPOLOGY="+shellWord(spec))
	}
	if s.prefix != defaultPrefix {
		words = append(words, "HERD_PREFIX="+shellWord(string(s.prefix)))
	}
	return words, nil
}

// absoluteTopology is HERD_TOPOLOGY for another directory.
func (s settings) absoluteTopology() (string, error) {
	if strings.Contains(s.topology, "/") { // a file
		return filepath.Abs(s.topology)
	}
	return s.topology, nil
}

// inContainer reports whether this process runs in a container. Our image sets the
// variable, and so do podman and systemd-nspawn.
func inContainer() bool { return os.Getenv("container") != "" }

// containerID matches the host name that Docker and podman give to a container unless
// they are told otherwise: the beginning of its ID.
var containerID = regexp.MustCompile(`^[0-9a-f]{12}$`)

// containerHints prints what is true in a container, whose paths and addresses are of
// no use on the host.
func containerHints(out *strings.Builder, dir string) {
	key := keydir.SeedFile(dir, access.OpsUser)
	fmt.Fprintf(out, "\nThe operators' key is %s in this container; %s is for those who only read.", key, keydir.SeedFile("", access.GuestUser))
	if id, err := os.Hostname(); err == nil && containerID.MatchString(id) {
		fmt.Fprintf(out, " To copy the operators' key to the host:\n\n  docker cp %s:%s ops.nk", id, shellWord(key))
	}
	fmt.Fprintln(out)
}
