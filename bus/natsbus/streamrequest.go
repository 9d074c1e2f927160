package natsbus

import (
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/micro"

	"herd/bus"
)

// takeStreamRequest hands a request about a stream to the handler. Only the first of a stream has a
// reply subject, and can be answered with an error.
func (c *connection) takeStreamRequest(endpoint string, request micro.Request) error {
	defer c.beginAnswer()()
	r := bus.StreamRequest{Endpoint: endpoint, To: request.Reply(), Data: request.Data()}
	err := readStreamHeaders(request.Headers(), &r)
	if err == nil {
		err = c.handler.Stream(r)
	}
	if err == nil || r.To == "" {
		return err
	}
	header, data, err := c.errorAnswer(err)
	if header == nil {
		return nil
	}
	return request.Error(codeOf(err), err.Error(), data, micro.WithHeaders(micro.Headers(header)))
}

// readStreamHeaders reads a request's headers about its stream.
func readStreamHeaders(h micro.Headers, r *bus.StreamRequest) (err error) {
	const maxID = 64 // bytes
	if r.ID = h.Get(bus.StreamHeader); r.ID == "" || len(r.ID) > maxID {
		return fmt.Errorf("header %s must be the stream's ID, of 1 to %d bytes", bus.StreamHeader, maxID)
	}
	if ack := h.Get(bus.AckHeader); ack != "" {
		if r.Ack, err = strconv.ParseUint(ack, 10, 64); err != nil {
			return fmt.Errorf("header %s must be a frame's number, and is %.40q", bus.AckHeader, ack)
		}
	}
	switch end := h.Get(bus.EndHeader); end {
	case "", "true":
		r.End = end != ""
	default:
		return fmt.Errorf("header %s must be true, and is %.40q", bus.EndHeader, end)
	}
	return nil
}
