package watch

import "encoding/json"

// What api/live says. A number that is not known is left out.

// hello is the herd's graph.
type hello struct {
	Version  string       `json:"version"`
	Topology string       `json:"topology"`
	Controls bool         `json:"controls"`
	Report   bool         `json:"report"` // of the controls, reports work: clients need no TLS
	Servers  []drawn      `json:"servers"`
	Edges    []edgeOfHerd `json:"edges"`
}

// drawn is a server, and its place in the drawing: see layout.Point.
type drawn struct {
	Name    string  `json:"name"`
	X       float64 `json:"x"`
	Y       float64 `json:"y"`
	Clients string  `json:"clients,omitempty"` // the address for clients
}

type edgeOfHerd struct {
	A string `json:"a"`
	B string `json:"b"`
}

// herdState is the state of the herd at a time.
type herdState struct {
	At          int64         `json:"at"`  // ms since 1970
	Bus         string        `json:"bus"` // connected or disconnected
	BusWhy      string        `json:"busWhy,omitempty"`
	Heard       *float64      `json:"heard,omitempty"` // seconds since anything was received from the bus
	Silent      bool          `json:"silent"`          // no server replies: then Heard is since the last reply, or the connection
	Servers     []serverState `json:"servers"`
	Edges       []edgeState   `json:"edges"`
	Pairs       []pairState   `json:"pairs"`
	Differences []string      `json:"differences"`
}

// State is how a server is.
type State string

// The states of a server.
const (
	Up       State = "up"
	Starting State = "starting"
	NotReady State = "not ready"
	Down     State = "down"
	Unknown  State = "unknown"
)

// serverState is the state of a server. Rates are records a second, ages seconds.
type serverState struct {
	Name      string   `json:"name"`
	State     State    `json:"state"`
	Why       string   `json:"why,omitempty"`
	Clients   *int     `json:"clients,omitempty"` // in its map
	Digest    string   `json:"digest,omitempty"`
	In        *float64 `json:"in,omitempty"`  // received from clients and neighbours
	Out       *float64 `json:"out,omitempty"` // sent to neighbours
	Sessions  *int     `json:"sessions,omitempty"`
	LagMs     *float64 `json:"lagMs,omitempty"`
	Heard     *float64 `json:"heard,omitempty"`     // since its last reply
	Heartbeat *float64 `json:"heartbeat,omitempty"` // since its neighbours have received one
	Stopped   bool     `json:"stopped"`             // by Controls
}

// Step is how an edge is.
type Step string

// The states of an edge.
const (
	InStep      Step = "in step"
	Behind      Step = "behind"
	EdgeDown    Step = "down"
	EdgeCut     Step = "cut"
	EdgeUnknown Step = "unknown"
)

type edgeState struct {
	A           string   `json:"a"`
	B           string   `json:"b"`
	State       Step     `json:"state"`
	Why         string   `json:"why,omitempty"`
	AB          *float64 `json:"ab,omitempty"` // records a second from A to B
	BA          *float64 `json:"ba,omitempty"`
	HeartbeatAB *float64 `json:"heartbeatAB,omitempty"` // seconds since B has received a heartbeat of A
	HeartbeatBA *float64 `json:"heartbeatBA,omitempty"`
}

// pairState says whether two servers have the same records, and when they had last, in seconds.
type pairState struct {
	A     string   `json:"a"`
	B     string   `json:"b"`
	Equal bool     `json:"equal"`
	Ago   *float64 `json:"ago,omitempty"`
}

// herdEvent is an event of a server.
type herdEvent struct {
	At     int64  `json:"at"` // ms since 1970, by the server's clock
	Server string `json:"server"`
	Kind   string `json:"kind"`
	Peer   string `json:"peer,omitempty"`
	Text   string `json:"text"`
}

// hop is a message with records on an edge.
type hop struct {
	At           int64  `json:"at"` // ms since 1970
	From         string `json:"from"`
	To           string `json:"to"`
	Client       string `json:"client,omitempty"` // of the first record: see shortName
	ClientBase64 string `json:"client_base64,omitempty"`
	Lines        int    `json:"lines"`
}

// tapState says whether hops are streamed.
type tapState struct {
	Tap bool `json:"tap"`
}

// message is an event of the stream, encoded.
func message(kind string, v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // these types have nothing that cannot be encoded
	}
	return append(append([]byte("event: "+kind+"\ndata: "), data...), "\n\n"...)
}
