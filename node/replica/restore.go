package replica

import (
	"time"

	"herd/node/store"
)

// Restore merges lines that an operator brings, each with its LF. What is news is queued for all
// neighbours, as if it had been reported here.
func (r *Replica) Restore(lines []byte, now time.Time) (result FrameResult) {
	r.noteReading(now)
	r.store.MergeLines(lines, func(line []byte, id store.ID, outcome store.Outcome, err error) {
		if result.count(outcome, line, err) {
			r.merged(id, line, outcome, noEdge, restored)
		}
	})
	return result
}
