package natsbus

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"herd/bus"
)

// Service describes the server to tools, as a NATS micro service that is named for
// the herd's prefix: `nats micro ls`, `info` and `stats` find it.
type Service struct {
	Description string
	Metadata    map[string]string
	// Endpoints are the names of the endpoints, each at <prefix>.<name>. Requests are
	// answered by bus.Handler.Answer, by each server for itself: there are no queue
	// groups.
	Endpoints []string
	// ServerEndpoints are those of this server alone, each at <prefix>.<name>.<server>, and
	// answered in the same way.
	ServerEndpoints []string
	// SharedEndpoints are at <prefix>.<name>, too, but one server answers each request: one of
	// those that have called Bus.JoinShared. bus.Handler.Answer is called for several requests
	// at the same time.
	SharedEndpoints []string
}

// ServerHeader is the header of an answer that names the server which gave it.
const ServerHeader = "Herd-Server"

const serviceVersion = "0.1.0"

// codes are the codes of the errors that have one.
var codes = []struct {
	err  error
	code string
}{
	{bus.ErrUnknown, "404"},
	{bus.ErrConflict, "409"},
	{bus.ErrBusy, "429"},
	{bus.ErrUnavailable, "503"},
}

const (
	// maxRequestsWaiting and maxRequestBytes are what waits for an endpoint's answers at most.
	// Further requests are dropped, and those who asked get no answer.
	maxRequestsWaiting = 1000
	maxRequestBytes    = 4 << 20
	// busyAnswers is how many requests per second are told that there are too many. Answers
	// without end would be more work than the requests.
	busyAnswers = 200
	// maxShared is how many requests at shared endpoints are answered at the same time. Further
	// ones wait, as above.
	maxShared = 1000
)

// addService adds the service to the connection, with which it ends.
func (c *connection) addService() (err error) {
	service := c.cfg.Service
	c.service, err = micro.AddService(c.nc, micro.Config{
		Name: string(c.cfg.Prefix), Version: serviceVersion, QueueGroupDisabled: true,
		Description: service.Description, Metadata: service.Metadata,
	})
	if err != nil {
		return fmt.Errorf("micro service: %w", err)
	}
	subjects := c.endpoints()
	for _, name := range slices.Sorted(maps.Keys(subjects)) { // as nats micro info shows them
		respond := func(request micro.Request) {
			if err := c.respond(name, request); err != nil {
				c.cfg.Log.Debug("micro service", "endpoint", name, "err", err)
			}
		}
		if err := c.addEndpoint(name, subjects[name], respond); err != nil {
			return err
		}
	}
	return c.addShared()
}

func (c *connection) addEndpoint(name, subject string, respond micro.HandlerFunc, with ...micro.EndpointOpt) error {
	with = append(with, micro.WithEndpointSubject(subject), micro.WithEndpointPendingLimits(maxRequestsWaiting, maxRequestBytes))
	if err := c.service.AddEndpoint(name, respond, with...); err != nil {
		return fmt.Errorf("micro service: endpoint %s: %w", name, err)
	}
	return nil
}

// JoinShared makes this server one of those of which one answers each request at a shared
// endpoint, on this and each later connection. Where no server has called it, the broker
// answers that nobody is there. It does not block, and may be called by any goroutine.
func (b *Bus) JoinShared() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shared.Store(true)
	if r := b.running; r != nil {
		signal(r.sharedNew)
	}
}

// addShared adds the shared endpoints, once JoinShared has been called. It may be called again.
func (c *connection) addShared() error {
	if !c.shared.Load() || c.hasShared {
		return nil
	}
	c.hasShared = true
	turns := make(chan struct{}, maxShared)
	for _, name := range c.cfg.Service.SharedEndpoints {
		respond := func(request micro.Request) {
			subject, data := request.Reply(), request.Data()
			turns <- struct{}{}
			go func() { // micro handles one request after the other, and may not be told of replies later
				defer func() { <-turns }()
				if err := c.respondTo(name, subject, data); err != nil {
					c.cfg.Log.Debug("micro service", "endpoint", name, "err", err)
				}
			}()
		}
		if err := c.addEndpoint(name, c.cfg.Prefix.Endpoint(name), respond, micro.WithEndpointQueueGroup(name)); err != nil {
			return err
		}
	}
	return nil
}

// endpoints are the subjects of the service's endpoints that are not shared, by name.
func (c *connection) endpoints() map[string]string {
	subjects := map[string]string{}
	for _, name := range c.cfg.Service.Endpoints {
		subjects[name] = c.cfg.Prefix.Endpoint(name)
	}
	for _, name := range c.cfg.Service.ServerEndpoints {
		subjects[name] = c.cfg.Prefix.ServerEndpoint(name, c.cfg.Server)
	}
	return subjects
}

// isEndpoint reports whether requests of tools arrive on a subject.
func (c *connection) isEndpoint(subject string) bool {
	shared := func(name string) bool { return c.cfg.Prefix.Endpoint(name) == subject }
	return slices.Contains(slices.Collect(maps.Values(c.endpoints())), subject) || slices.ContainsFunc(c.cfg.Service.SharedEndpoints, shared)
}

// respond answers one request.
func (c *connection) respond(endpoint string, request micro.Request) error {
	defer c.beginAnswer()()
	header, data, err := c.answer(endpoint, request.Data())
	switch from := micro.WithHeaders(micro.Headers(header)); {
	case header == nil:
		return nil
	case err != nil:
		return request.Error(codeOf(err), err.Error(), data, from)
	default:
		return request.Respond(data, from)
	}
}

// respondTo answers one request on a subject, as respond does.
func (c *connection) respondTo(endpoint, subject string, request []byte) error {
	defer c.beginAnswer()()
	header, data, err := c.answer(endpoint, request)
	if header == nil || subject == "" {
		return nil
	}
	if err != nil {
		header.Set(micro.ErrorHeader, err.Error())
		header.Set(micro.ErrorCodeHeader, codeOf(err))
	}
	return c.nc.PublishMsg(&nats.Msg{Subject: subject, Header: header, Data: data})
}

// beginAnswer notes that a request is being answered, until end is called. A connection that is
// to be made anew waits for that.
func (c *connection) beginAnswer() (end func()) {
	c.answering.Add(1)
	return func() {
		if c.answering.Add(-1) == 0 {
			signal(c.answered)
		}
	}
}

// answer makes the answer to one request. An error is answered in the form that micro services
// have for it: in headers, with its code, and as text. Beyond busyAnswers, bus.ErrBusy is not
// answered: then header is nil.
func (c *connection) answer(endpoint string, request []byte) (header nats.Header, data []byte, err error) {
	reply, err := c.handler.Answer(endpoint, request)
	if errors.Is(err, bus.ErrBusy) && !c.busy.Allow() {
		return nil, nil, err
	}
	header = nats.Header{ServerHeader: {c.cfg.Server}}
	if err != nil {
		return header, []byte(err.Error()), err
	}
	for key, value := range reply.Header {
		header.Set(key, value)
	}
	return header, reply.Data, nil
}

// codeOf is the code of an error: 400 for those that have none.
func codeOf(err error) string {
	for _, known := range codes {
		if errors.Is(err, known.err) {
			return known.code
		}
	}
	return "400"
}
