package replica

// Kind is the kind of an Event, and the <kind> of its subject.
type Kind string

// The kinds that a Replica reports.
const (
	Up       Kind = "up"
	Down     Kind = "down"
	Gap      Kind = "gap"
	Repair   Kind = "repair"
	Clock    Kind = "clock"
	Mismatch Kind = "mismatch"
)

// Event is a notice for operators.
type Event struct {
	Kind Kind
	Peer string // the neighbour that it is about; "" for this server itself, as for its clock
	Text string // one line
	// Recovered says that a fault is over, which an earlier event of the same kind reported.
	Recovered bool
}
