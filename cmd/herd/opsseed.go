package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"herd/bus/access"
	"herd/bus/access/keydir"
	"herd/bus/natsbus"
	"herd/bus/printable"
)

// opsSeed is the file with the seed of access.OpsUser of an embedded NATS server.
type opsSeed struct {
	path      string // absolute; "" if there is none
	temporary string // the directory to remove with it, "" for none
}

// writeOpsSeed writes the seed of access.OpsUser to a file that only this user may read, in
// dir or, if dir is "", in a new directory that no other user may read. It replaces that of an
// earlier process.
func writeOpsSeed(dir string, keys access.Keys) (written opsSeed, err error) {
	seed, err := keys[access.OpsUser].Seed()
	if err != nil {
		return opsSeed{}, err
	}
	defer func() {
		if err != nil {
			written.remove()
			written = opsSeed{}
		}
	}()
	if dir == "" {
		if dir, err = os.MkdirTemp("", "herd-"); err != nil { // its mode is 0700
			return opsSeed{}, err
		}
		written.temporary = dir
	}
	path, err := filepath.Abs(keydir.SeedFile(dir, access.OpsUser))
	if err != nil {
		return written, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-"+filepath.Base(path)+"-") // its mode is 0600
	if err != nil {
		return written, err
	}
	_, err = f.Write(append(seed, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return written, err
	}
	written.path = path
	return written, nil
}

// remove removes the file. A process that is killed leaves it behind.
func (o opsSeed) remove() {
	if o.path != "" {
		os.Remove(o.path)
	}
	if o.temporary != "" {
		os.Remove(o.temporary)
	}
}

// opsSeedDirectory creates HERD_DATA_DIR, if it is set, for the seed of an embedded NATS
// server. It may not be a directory of bus-config, whose operators' key would be replaced.
func opsSeedDirectory(c *checker, s settings) {
	if s.dataDir == "" || len(s.natsURLs) > 0 {
		return
	}
	if _, err := os.Stat(keydir.SeedFile(s.dataDir, access.SystemUser)); err == nil {
		c.fault("HERD_DATA_DIR", "%s holds keys of bus-config: name another directory", s.dataDir)
		return
	}
	c.directory("HERD_DATA_DIR", s.dataDir)
}

// opsSeedKey is the key of a server's metadata that has the path of the operators' key of
// herd up.
const opsSeedKey = "ops_seed"

// opsKeyHint says which key to use after a request that only operators may send was denied.
func opsKeyHint(ctx context.Context, cfg natsbus.Config) string {
	const permitted = "only operators may send this request"
	ctx, cancel := context.WithTimeout(ctx, replyTimeout)
	defer cancel()
	// Its error is not of interest: a broker that did not let us in does not do so now.
	if metadata, _ := natsbus.Metadata(ctx, cfg); metadata[opsSeedKey] != "" {
		return fmt.Sprintf("%s: set HERD_NATS_SEED=%s, which herd up has written on its host", permitted, printable.Clip(shellWord(metadata[opsSeedKey]), 500))
	}
	return fmt.Sprintf("%s: set HERD_NATS_SEED to their key, …/%s, which bus-config has written, and herd up at its start", permitted, keydir.SeedFile("", access.OpsUser))
}
