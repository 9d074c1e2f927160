// Package keydir writes the directory that `herd bus-config` produces: the nkey seeds
// of all users of the bus and the nats-server configurations with their permissions.
//
//	Welsh.nk          the seed of user Welsh, mode 0600; one file per user
//	Welsh.nk.revoked  the seed of a user that is no longer in the rules
//	nats.conf         the configuration of a single broker, mode 0644
//	nats-1.conf, …    the configurations of a cluster, mode 0600: they hold its password
//	cluster.password  the password that the brokers of a cluster share, mode 0600
//	.lock             locked while a process writes to the directory
//
// Write brings a directory up to date. It keeps seeds that exist, and replaces only
// files that it wrote itself: a configuration without its header, or a file that
// holds no seed where a user's seed belongs, is an error.
package keydir

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"herd/bus/access"
)

const (
	// SeedExt is the extension of a file with a seed.
	SeedExt = ".nk"
	// SingleConf is the configuration of a single broker.
	SingleConf = "nats.conf"

	passwordFile = "cluster.password"
	lockFile     = ".lock"
	revokedExt   = ".revoked"
	newPrefix    = ".new-" // of a file that is not in place yet
	clusterUser  = "broker"

	// header begins each configuration, and marks it as safe to overwrite.
	header = "# Written by herd bus-config"
)

// SeedFile is the path of a user's seed.
func SeedFile(dir, user string) string { return filepath.Join(dir, user+SeedExt) }

// ClusterConf is the name of the configuration of broker i of a cluster, from 0.
func ClusterConf(i int) string { return fmt.Sprintf("nats-%d.conf", i+1) }

// Config says what a directory should hold.
type Config struct {
	Dir string
	// SplitDir, if not "", also gets a copy of each server's seed and of each broker's
	// configuration, each in a directory of its own: SplitDir/Welsh/Welsh.nk. A
	// container that mounts one of these directories sees no other secret. The seeds of
	// users that are no servers are not copied.
	SplitDir string

	Rules access.Rules
	// Replace permits to revoke most keys of servers. Without it, Write refuses rules that keep
	// fewer keys of servers than they revoke: they are probably another herd's.
	Replace bool
	// Brokers is a single broker without Cluster, or all brokers of a cluster. Write
	// sets the user and password of Cluster.
	Brokers []access.Broker
	// Command is the command line that wrote the configurations, for their header.
	Command string
}

// ConfFile is the name of the configuration of broker i.
func (c Config) ConfFile(i int) string {
	if c.isCluster() {
		return ClusterConf(i)
	}
	return SingleConf
}

func (c Config) isCluster() bool { return c.Brokers[0].Cluster != nil }

// File is a file in Config.Dir, and what Write did about it, in words for people.
type File struct{ Name, Status string }

// Write brings the directory up to date, and returns its seeds and configurations,
// sorted by name. An error says whether anything was changed.
func Write(cfg Config) ([]File, error) {
	unchanged := func(err error) error { return fmt.Errorf("%w; nothing was changed", err) }
	if err := cfg.checkNames(); err != nil {
		return nil, unchanged(err)
	}
	if err := cfg.checkKind(); err != nil {
		return nil, unchanged(err)
	}
	d, err := openDir(cfg.Dir, cfg.Rules.Users)
	if err != nil {
		return nil, unchanged(err)
	}
	defer d.close()
	status, gone, err := d.prepare(cfg)
	if err != nil {
		return nil, unchanged(err)
	}
	revoked, err := d.commit(gone)
	if err != nil {
		return nil, fmt.Errorf("%w; run it again", err)
	}
	for user, now := range revoked {
		status[user+SeedExt] = "revoked: moved to " + now
	}
	if cfg.SplitDir != "" {
		if err := splitPerServer(cfg); err != nil {
			return nil, fmt.Errorf("copying to %s: %w; run it again", cfg.SplitDir, err)
		}
	}
	var files []File
	for name, s := range status {
		files = append(files, File{name, s})
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return files, nil
}

// checkNames checks that no two files would have the same name.
func (c Config) checkNames() error {
	var servers []string
	for _, u := range c.Rules.Users {
		if u.Account == access.Herd {
			servers = append(servers, u.Name)
		}
	}
	if err := access.CheckNames(servers); err != nil {
		return err
	}
	if c.SplitDir == "" {
		return nil
	}
	for i := range c.Brokers {
		broker := ownDir(c.ConfFile(i))
		if slices.ContainsFunc(c.Rules.Users, func(u access.User) bool { return u.Name == broker }) {
			return fmt.Errorf("a server cannot be named %s: %s is the broker's directory", broker, filepath.Join(c.SplitDir, broker))
		}
	}
	return nil
}

// checkKind checks that the directory does not hold the configuration of a single
// broker where a cluster's is written, or the other way round. The old one would
// keep granting the old permissions.
func (c Config) checkKind() error {
	if c.isCluster() && exists(filepath.Join(c.Dir, SingleConf)) {
		return fmt.Errorf("%s holds the configuration of a single broker, %s: name another directory, or move that file away", c.Dir, SingleConf)
	}
	if !c.isCluster() && exists(filepath.Join(c.Dir, ClusterConf(0))) {
		return fmt.Errorf("%s holds the configuration of a cluster: add --routes, name another directory, or move its files away", c.Dir)
	}
	return nil
}

// prepare writes all files that change under temporary names. It returns the status
// of each file, and the users whose seeds are to be revoked.
func (d *dir) prepare(cfg Config) (status map[string]string, gone []string, err error) {
	status = map[string]string{}
	keys, created, err := d.createKeys(cfg.Rules)
	if err != nil {
		return nil, nil, err
	}
	for _, u := range cfg.Rules.Users {
		status[u.Name+SeedExt] = "kept"
		if slices.Contains(created, u.Name) {
			status[u.Name+SeedExt] = "a new key"
		}
	}
	public, err := keys.Public()
	if err != nil {
		return nil, nil, err
	}
	mode := os.FileMode(0o644)
	var password string
	if cfg.isCluster() {
		mode = 0o600 // the configurations hold the password
		if password, err = d.clusterPassword(); err != nil {
			return nil, nil, err
		}
	}
	var before strings.Builder
	for i, broker := range cfg.Brokers {
		if broker.Cluster != nil {
			cluster := *broker.Cluster
			cluster.User, cluster.Password = clusterUser, password
			broker.Cluster = &cluster
		}
		file := cfg.ConfFile(i)
		old, err := readConf(filepath.Join(cfg.Dir, file))
		if err != nil {
			return nil, nil, err
		}
		before.WriteString(old)
		text := cfg.comment() + cfg.Rules.Conf(broker, public)
		status[file] = "unchanged"
		if text != old {
			status[file] = "written"
			if err := d.put(file, []byte(text), mode); err != nil {
				return nil, nil, err
			}
		}
	}
	gone, err = d.gone(cfg.Rules, before.String())
	if err == nil && !cfg.Replace {
		err = checkGone(cfg, gone, created)
	}
	return status, gone, err
}

// checkGone refuses to revoke more keys of servers than are kept.
func checkGone(cfg Config, gone, created []string) error {
	kept := 0
	var servers []string
	for _, u := range cfg.Rules.Users {
		if u.Account != access.Herd {
			continue
		}
		servers = append(servers, u.Name)
		if !slices.Contains(created, u.Name) {
			kept++
		}
	}
	if len(gone) <= kept {
		return nil
	}
	return fmt.Errorf("%s holds the keys of a herd that has %s, which the topology lacks; it has %s: is this the right topology? To revoke their keys, add --replace",
		cfg.Dir, strings.Join(gone, ", "), strings.Join(servers, ", "))
}

// comment is the head of a configuration.
func (c Config) comment() string {
	return header + `, which overwrites this file: put your own settings into
# another file that includes this one. The command was
#
#   ` + strings.ReplaceAll(c.Command, "\n", " ") + `

`
}

// readConf reads a configuration that an earlier run wrote; "" if there is none.
func readConf(path string) (string, error) {
	if !exists(path) {
		return "", nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(string(content), header) {
		return "", fmt.Errorf("%s was not written by bus-config: move it away, or name another directory", path)
	}
	return string(content), nil
}
