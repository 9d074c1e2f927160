package node

import (
	"time"

	"herd/node/replica"
)

// Stats is a server's numbers at one moment, for metrics.
type Stats struct {
	Ready, Connected, JournalFails bool
	Records                        int
	MapBytes, MapLimit             int64 // store.Map.Bytes and Limit
	Full                           bool  // the map has refused records
	Clients                        int   // connections
	ClientsLimit                   int   // of them, by Limits.Conns and Limits.Files
	Accepted                       uint64
	Refused                        uint64            // connections, because too many are open
	Refusals                       map[string]uint64 // by every limit on clients, by reason; all reasons are there
	Panics                         uint64
	RequestsRefused                uint64 // of tools, over the bus
	Streams                        StreamStats
	Unsendable                     uint64
	TrafficLost                    uint64 // lines of the traffic log
	Reports                        replica.Reports
	Events                         map[string]uint64 // by kind; all kinds are there
	JournalRecords                 int               // not yet in the journal
	JournalAge                     time.Duration     // an upper bound on the age of the oldest of them
	Edges                          []replica.EdgeInfo
	Latencies                      map[string]Latency // of replies, by command
	Near                           NearStats
	Expiry                         replica.ExpiryInfo
}

// NearStats is numbers of the requests for who is near, and of their index.
type NearStats struct {
	Requests map[string]uint64  // by result
	Took     map[string]Latency // of the times that the map was locked for them, by stage: absorb and search
	Records  int                // clients in the index; 0 if there is none
	Bytes    int64              // of the index
	Waiting  int                // clients that have yet to be put into it
}

// StreamStats is the numbers of streams to followers. All but the first two count since the server started.
type StreamStats struct {
	Open                   int
	Blocked                int // of them, those whose follower has to confirm before more is sent
	Opened, Refused        uint64
	Frames, Records, Bytes uint64 // sent
	TooLarge               uint64 // records that were left out because NATS takes no message of their size
}

// Stats collects the numbers.
func (n *Node) Stats() Stats {
	s := Stats{Ready: n.Ready() == nil, Panics: n.panics.Load(), RequestsRefused: n.toolRequests.refused.Load(), Events: map[string]uint64{}, Latencies: map[string]Latency{}}
	s.Clients, s.Accepted = n.clients.counts()
	s.ClientsLimit = n.clients.most()
	s.Refused = n.refusals[tooManyConnections].count.Load() + n.refusals[tooManyOfAddress].count.Load()
	s.Refusals = n.refusals.byReason()
	if n.traffic != nil {
		s.TrafficLost = n.traffic.linesLost()
	}
	counts := n.events.byKind()
	for _, k := range kinds {
		s.Events[string(k)] = counts[k]
	}
	for to := range commands {
		s.Latencies[to.String()] = n.latencies[to].read()
	}
	now := time.Now()
	s.Streams = n.streams.stats()
	n.mu.Lock()
	defer n.mu.Unlock()
	s.Streams.Open, s.Streams.Blocked = n.replica.Streams()
	s.Streams.TooLarge = n.replica.StreamsTooLarge()
	s.Connected, s.JournalFails = n.bus == connected, n.journalFailed
	s.Records, s.Unsendable, s.Reports = n.replica.Map().Known(), n.replica.Unsendable(), n.replica.Reports()
	s.MapBytes, s.MapLimit, s.Full = n.replica.Map().Bytes(), n.replica.Map().Limit(), n.replica.Full() != ""
	if s.JournalRecords = n.replica.Unjournalled(); s.JournalRecords > 0 && !n.unsavedSince.IsZero() {
		s.JournalAge = now.Sub(n.unsavedSince)
	}
	s.Edges = n.edgeInfos(now)
	s.Near = n.nearby.stats(n.replica)
	s.Expiry = n.replica.Expiry()
	return s
}

// edgeInfos describes the edges that the topology lists. The lock is held.
func (n *Node) edgeInfos(now time.Time) (infos []replica.EdgeInfo) {
	for e := range n.replica.Edges() {
		if n.replica.Peer(e) != "" {
			infos = append(infos, n.replica.Edge(e, now))
		}
	}
	return infos
}

// Name is the server's name.
func (n *Node) Name() string { return n.cfg.Name }
