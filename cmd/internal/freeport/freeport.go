// Package freeport finds free TCP ports of 127.0.0.1 for processes that must know each
// other's addresses before they start, and keep them over a restart. Benchmarks and tests use
// it.
//
// Processes that use it at the same time never get the same port. Otherwise one of them could
// connect to the server of another one. Each process takes whole blocks of ports, and holds
// the first port of a block as a lock until it exits. The ports are below those that systems
// choose for outgoing connections and for port 0.
package freeport

import (
	"errors"
	"fmt"
	"net"
	"sync"
)

const (
	from, to  = 13_000, 32_600
	blockSize = 200
)

// block is the ports that this process may still give away. It has taken their block.
var block struct {
	mu        sync.Mutex
	next, end int
	locks     []net.Listener
}

// Addresses returns n addresses with consecutive ports, at most 199, on which nobody listens.
// It never returns an address twice. It is safe for concurrent use.
func Addresses(n int) ([]string, error) {
	if n >= blockSize {
		return nil, fmt.Errorf("%d consecutive ports, more than %d", n, blockSize-1)
	}
	block.mu.Lock()
	defer block.mu.Unlock()
	var addresses []string
	for len(addresses) < n {
		if block.end-block.next < n-len(addresses) {
			if err := takeBlockLocked(); err != nil {
				return nil, err
			}
			addresses = nil
		}
		address := addressOf(block.next)
		block.next++
		if ln, err := net.Listen("tcp", address); err == nil {
			ln.Close()
			addresses = append(addresses, address)
		} else { // a process that does not use this package, or one that was left behind
			addresses = nil
		}
	}
	return addresses, nil
}

// takeBlockLocked takes the first block that no process has.
func takeBlockLocked() error {
	for first := from; first < to; first += blockSize {
		if lock, err := net.Listen("tcp", addressOf(first)); err == nil {
			block.locks = append(block.locks, lock)
			block.next, block.end = first+1, first+blockSize
			return nil
		}
	}
	return errors.New("no free ports: all blocks are taken")
}

func addressOf(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
