//go:build !unix

package node

// Elsewhere a session holds its buffers while it waits.
const canReadNonblocking = false

func (x *exchange) readNonblocking(uintptr) (wouldBlock bool, err error) { return true, nil }

// hasError cannot tell here: a lookup goes on until it has its answer.
func hasError(uintptr) bool { return false }
