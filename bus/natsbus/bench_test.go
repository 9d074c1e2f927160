package natsbus_test

import (
	"context"
	"testing"

	"herd/bus"
	"herd/bus/embed"
	"herd/bus/natsbus"
)

// BenchmarkSend sends a record to each of three neighbours, as a flush after a lone
// report does.
func BenchmarkSend(b *testing.B) {
	s, err := embed.Start("127.0.0.1:0", testLog(b))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Shutdown()
	a := natsbus.New(natsbus.Config{
		URLs: []string{s.URL()}, Prefix: "herd", Server: "A", Neighbours: []string{"B", "C", "D"}, Epoch: 1, Log: testLog(b),
	})
	ctx, stop := context.WithCancel(b.Context())
	connected, done := make(chan bool, 10), make(chan error, 1)
	go func() { done <- a.Run(ctx, connectedHandler(connected)) }()
	<-connected
	messages := []bus.Message{record(1), record(1), record(1)}
	messages[1].Peer, messages[2].Peer = "C", "D"
	b.ReportAllocs()
	for b.Loop() {
		if err := a.Send(messages...); err != nil {
			b.Fatal(err)
		}
	}
	stop()
	<-done
}
