package access

import (
	"fmt"

	"github.com/nats-io/nkeys"
)

// Keys are the users' nkeys by name, with their seeds. Conf takes the public keys only.
type Keys map[string]nkeys.KeyPair

// NewKeys creates a key for each user, in memory.
func NewKeys(r Rules) (Keys, error) {
	keys := Keys{}
	for _, u := range r.Users {
		key, err := nkeys.CreateUser()
		if err != nil {
			return nil, fmt.Errorf("create a key for %s: %w", u.Name, err)
		}
		keys[u.Name] = key
	}
	return keys, nil
}

// Public returns the public keys by name.
func (k Keys) Public() (map[string]string, error) {
	public := map[string]string{}
	for name, key := range k {
		var err error
		if public[name], err = key.PublicKey(); err != nil {
			return nil, fmt.Errorf("public key of %s: %w", name, err)
		}
	}
	return public, nil
}
