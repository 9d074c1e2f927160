//go:build race

package replica

// The race detector makes a simulation ten times as slow, and has nothing to find in it: a
// herd is one goroutine.
func init() { defaultSeeds = 200 }
