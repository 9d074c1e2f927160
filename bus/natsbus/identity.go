package natsbus

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// identity is what we show to the broker, and what we trust of it: the contents of the
// files that Config names.
type identity struct {
	options []nats.Option
	digest  [sha256.Size]byte // of all contents
}

// identity reads the files. Its errors show nothing that the files of keys hold.
func (c Config) identity() (*identity, error) {
	id, digest := &identity{}, sha256.New()
	read := func(what, file string) ([]byte, error) {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		fmt.Fprintf(digest, "%s %d\n", what, len(data))
		digest.Write(data)
		return data, nil
	}
	if c.User != nil {
		public, err := c.User.PublicKey()
		if err != nil {
			return nil, fmt.Errorf("nkey: %w", err)
		}
		id.options = append(id.options, nats.Nkey(public, c.User.Sign))
	}
	if c.Seed != "" {
		data, err := read("nkey seed", c.Seed)
		if err != nil {
			return nil, err
		}
		option, err := seedOption(data)
		if err != nil {
			return nil, fmt.Errorf("nkey seed %s: %w", c.Seed, err)
		}
		id.options = append(id.options, option)
	}
	if c.Creds != "" {
		data, err := read("NATS credentials", c.Creds)
		if err != nil {
			return nil, err
		}
		if err := checkCredentials(data); err != nil {
			return nil, fmt.Errorf("NATS credentials %s: %w", c.Creds, err)
		}
		id.options = append(id.options, nats.UserCredentialBytes(data))
	}
	var rootsOf nats.RootCAsHandler
	if c.CA != "" {
		data, err := read("CA", c.CA)
		if err != nil {
			return nil, err
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("CA %s: it has no certificate in PEM format", c.CA)
		}
		rootsOf = func() (*x509.CertPool, error) { return roots, nil }
	}
	var certOf nats.TLSCertHandler
	if c.Cert != "" {
		certPEM, err := read("client certificate", c.Cert)
		if err != nil {
			return nil, err
		}
		keyPEM, err := read("client key", c.Key)
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			return nil, fmt.Errorf("client certificate %s with key %s: %w", c.Cert, c.Key, err)
		}
		certOf = func() (tls.Certificate, error) { return pair, nil }
	}
	if rootsOf != nil || certOf != nil {
		id.options = append(id.options, nats.ClientTLSConfig(certOf, rootsOf))
	}
	digest.Sum(id.digest[:0])
	return id, nil
}

func seedOption(seed []byte) (nats.Option, error) {
	key, err := nkeys.ParseDecoratedNKey(seed)
	if err != nil {
		return nil, errors.New("it holds no nkey seed")
	}
	public, err := key.PublicKey()
	if err != nil || !nkeys.IsValidPublicUserKey(public) {
		return nil, errors.New("it holds no seed of a user's nkey")
	}
	return nats.Nkey(public, key.Sign), nil
}

func checkCredentials(creds []byte) error {
	if token, err := nkeys.ParseDecoratedJWT(creds); err != nil || len(bytes.TrimSpace([]byte(token))) == 0 {
		return errors.New("they hold no JWT")
	}
	if _, err := nkeys.ParseDecoratedNKey(creds); err != nil {
		return errors.New("they hold no nkey seed")
	}
	return nil
}

// current is the identity to connect with: what the files hold now. If they cannot be used
// it is what they held last, or nil, with the reason.
func (b *Bus) current() (*identity, error) {
	id, err := b.cfg.identity() // may take long: the lock is not held
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		b.identity = id
	}
	return b.identity, err
}

// setUsed notes the identity that a new connection was made with.
func (b *Bus) setUsed(id *identity) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used = id
}

// Reload reads the files of keys and certificates again. changed is whether they differ
// from what the present connection was made with. Then a running bus reconnects with
// them, as after a lost connection, and keeps its server's name. It does so once the
// requests of tools that it is answering have their replies, or after answerTimeout: one
// of them may be the request that led to this call. After an error, which names the file,
// the former ones stay in use. It may be called by several goroutines.
func (b *Bus) Reload() (changed bool, err error) {
	id, err := b.cfg.identity() // may take long: the lock is not held
	if err != nil {
		return false, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	was := cmp.Or(b.used, b.identity)
	changed = was != nil && was.digest != id.digest
	b.identity = id
	if changed && b.running != nil {
		b.running.reconnect()
	}
	return changed, nil
}
