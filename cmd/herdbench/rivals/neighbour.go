package rivals

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"herd/bus"
	"herd/bus/topology"
	"herd/node/wire"
)

// HostileTopology has a server, C, that an attack plays: it is a neighbour of A alone.
const HostileTopology = "A-B,A-C"

// neighbour is C, as far as A can tell.
type neighbour struct {
	conn     *nats.Conn
	epoch    uint64
	seq      uint64
	topology uint64
	beat     time.Time // of the last heartbeat
}

// attackAsNeighbour sends heartbeats like a server, and calls do again and again.
func attackAsNeighbour(a Attack, do func(n *neighbour) error) error {
	g, err := topology.Load(HostileTopology)
	if err != nil {
		return err
	}
	conn, err := nats.Connect(a.Addr, nats.NoReconnect())
	if err != nil {
		return err
	}
	defer conn.Close()
	n := &neighbour{conn: conn, epoch: uint64(time.Now().UnixNano()), topology: g.Hash()}
	for {
		if now := time.Now(); now.Sub(n.beat) >= time.Second/2 {
			b := wire.Heartbeat{Epoch: n.epoch, Seq: n.seq, Clock: wire.InstantOf(now), Format: wire.Format, Topology: n.topology, Ready: true}
			if err := conn.Publish(subject(bus.Heartbeat), b.Append(nil)); err != nil {
				return err
			}
			n.beat = now
		}
		if err := do(n); err != nil {
			return err
		}
	}
}

func subject(lane bus.Lane) string { return bus.Prefix("herd").Between(lane, "C", "A") }

// attackWithRequests asks A to compare maps without end.
func attackWithRequests(a Attack, _ int) error {
	var digests [wire.Groups]uint64
	request := wire.Sync{Kind: wire.RequestGroups, Last: true, Body: wire.AppendDigests(nil, &digests)}.Append(nil)
	return attackAsNeighbour(a, func(n *neighbour) error { return n.conn.Publish(subject(bus.SyncRequest), request) })
}

// attackWithClients sends records of clients that nobody knows, as fast as it can.
func attackWithClients(a Attack, _ int) error {
	made := 0
	return attackAsNeighbour(a, func(n *neighbour) error {
		m := nats.NewMsg(subject(bus.Records))
		n.seq++
		m.Header.Set(bus.EpochHeader, strconv.FormatUint(n.epoch, 10))
		m.Header.Set(bus.SeqHeader, strconv.FormatUint(n.seq, 10))
		var frame bytes.Buffer
		for range 300 {
			made++
			fmt.Fprintf(&frame, "AT C +0.000000000 made-up-%d +34.068930-118.445127 %d\n", made, n.beat.Unix())
		}
		m.Data = frame.Bytes()
		return n.conn.PublishMsg(m)
	})
}

// attackWithRepeats sends the same records again and again.
func attackWithRepeats(a Attack, _ int) error {
	frame := bytes.Repeat([]byte("AT C +0.000000000 again +34.068930-118.445127 1\n"), 600)
	return attackAsNeighbour(a, func(n *neighbour) error { return n.conn.Publish(subject(bus.Records), frame) })
}
