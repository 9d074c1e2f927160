package natsbus

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"herd/bus"
)

// Service describes the server to tools, as a NATS micro service that is named for
// the herd's prefix: `nats micro ls`, `info` and `stats` find it.
type Service struct {
	Description string
	Metadata    map[string]string
	// Endpoints are the endpoints. Their requests are answered by bus.Handler.Answer, which
	// gets their names, or taken by bus.Handler.Stream. Those of bus.AnswerOne are answered once
	// Bus.JoinShared has been called, several at the same time.
	Endpoints []bus.Endpoint
}

// ServerHeader is the header of an answer that names the server which gave it.
const ServerHeader = "Herd-Server"

// serviceVersion is the version of the service, from that of the program's main module. Micro
// services need a semantic one: without a release it is 0.0.0.
func serviceVersion(main string) string {
	if version, ok := strings.CutPrefix(main, "v"); ok {
		return version
	}
	return "0.0.0"
}

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
	main := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		main = info.Main.Version
	}
	c.service, err = micro.AddService(c.nc, micro.Config{
		Name: string(c.cfg.Prefix), Version: serviceVersion(main), QueueGroupDisabled: true,
		Description: service.Description, Metadata: service.Metadata,
	})
	if err != nil {
		return fmt.Errorf("micro service: %w", err)
	}
	for _, e := range c.endpoints(func(e bus.Endpoint) bool { return e.Answers != bus.AnswerOne }) {
		take := c.respond
		if e.Stream {
			take = c.takeStreamRequest
		}
		if err := c.addEndpoint(e, func(request micro.Request) error { return take(e.Name, request) }); err != nil {
			return err
		}
	}
	return c.addShared()
}

// endpoints are those of the service that match, in the order of their names, as nats micro info shows them.
func (c *connection) endpoints(match func(bus.Endpoint) bool) []bus.Endpoint {
	all := slices.DeleteFunc(slices.Clone(c.cfg.Service.Endpoints), func(e bus.Endpoint) bool { return !match(e) })
	slices.SortFunc(all, func(a, b bus.Endpoint) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// addEndpoint adds an endpoint whose requests take takes, except those whose reply subject is not one for replies to
// tools: then nobody gets a reply.
func (c *connection) addEndpoint(e bus.Endpoint, take func(micro.Request) error, with ...micro.EndpointOpt) error {
	handle := micro.HandlerFunc(func(request micro.Request) {
		var err error
		if to := request.Reply(); c.mayReply(to) {
			err = take(request)
		} else {
			err = fmt.Errorf("the reply subject %q is refused: a reply there would look like a message of a server", to)
		}
		if err != nil {
			c.cfg.Log.Debug("request not answered", "endpoint", e.Name, "err", err)
		}
	})
	with = append(with, micro.WithEndpointSubject(e.Subject(c.cfg.Prefix, c.cfg.Server)), micro.WithEndpointPendingLimits(maxRequestsWaiting, maxRequestBytes))
	if err := c.service.AddEndpoint(e.Name, handle, with...); err != nil {
		return fmt.Errorf("micro service: endpoint %s: %w", e.Name, err)
	}
	return nil
}

// JoinShared makes this server one of those of which one answers each request at an endpoint of
// bus.AnswerOne, on this and each later connection. Where no server has called it, the broker
// answers that nobody is there. It does not block, and may be called by any goroutine.
func (b *Bus) JoinShared() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shared.Store(true)
	if r := b.running; r != nil {
		signal(r.sharedNew)
	}
}

// addShared adds the endpoints of bus.AnswerOne, once JoinShared has been called. It may be called again.
func (c *connection) addShared() error {
	if !c.shared.Load() || c.hasShared {
		return nil
	}
	c.hasShared = true
	turns := make(chan struct{}, maxShared)
	for _, e := range c.endpoints(func(e bus.Endpoint) bool { return e.Answers == bus.AnswerOne }) {
		take := func(request micro.Request) error {
			subject, data := request.Reply(), request.Data()
			turns <- struct{}{}
			go func() { // micro handles requests one by one, and its Request cannot be used after the handler has returned
				defer func() { <-turns }()
				if err := c.respondTo(e.Name, subject, data); err != nil {
					c.cfg.Log.Debug("request not answered", "endpoint", e.Name, "err", err)
				}
			}()
			return nil
		}
		if err := c.addEndpoint(e, take, micro.WithEndpointQueueGroup(e.Name)); err != nil {
			return err
		}
	}
	return nil
}

// isEndpoint reports whether requests of tools arrive on a subject.
func (c *connection) isEndpoint(subject string) bool {
	return slices.ContainsFunc(c.cfg.Service.Endpoints, func(e bus.Endpoint) bool {
		return e.Subject(c.cfg.Prefix, c.cfg.Server) == subject
	})
}

// mayReply reports whether a subject is one for replies to tools. A requester chooses the subject.
// Without accounts that keep tools and servers apart (package access), it could make us publish where
// only servers may: on subjects of the herd, of NATS itself, and in a server's inbox.
func (c *connection) mayReply(to string) bool {
	p := c.cfg.Prefix
	if strings.HasPrefix(to, string(p)+".") || strings.HasPrefix(to, "$") || strings.HasSuffix(to, "."+string(bus.SyncReply)) {
		return false
	}
	return !slices.ContainsFunc(append(c.currentNeighbours(), c.cfg.Server), func(server string) bool {
		return strings.HasPrefix(to, p.Inbox(server)+".")
	})
}

// respond answers one request.
func (c *connection) respond(endpoint string, request micro.Request) error {
	defer c.beginAnswer()()
	header, data, err := c.answer(endpoint, request.Data())
	switch {
	case header == nil:
		return nil
	case err != nil:
		return request.Error(codeOf(err), err.Error(), data, micro.WithHeaders(micro.Headers(header)))
	default:
		return request.Respond(data, micro.WithHeaders(micro.Headers(header)))
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

// beginAnswer notes that a request is being answered, until end is called. A reconnect
// waits for that.
func (c *connection) beginAnswer() (end func()) {
	c.answering.Add(1)
	return func() {
		if c.answering.Add(-1) == 0 {
			signal(c.answered)
		}
	}
}

// answer makes the answer to one request, or its error's.
func (c *connection) answer(endpoint string, request []byte) (header nats.Header, data []byte, err error) {
	reply, err := c.handler.Answer(endpoint, request)
	if err != nil {
		return c.errorAnswer(err)
	}
	header = nats.Header{ServerHeader: {c.cfg.Server}}
	for key, value := range reply.Header {
		header.Set(key, value)
	}
	return header, reply.Data, nil
}

// errorAnswer is the answer that reports an error, which it returns. It has the form that micro services have for it: in
// headers, with its code, and as text. Beyond busyAnswers, bus.ErrBusy is not answered: then header is nil.
func (c *connection) errorAnswer(err error) (header nats.Header, data []byte, _ error) {
	if errors.Is(err, bus.ErrBusy) && !c.busy.Allow() {
		return nil, nil, err
	}
	return nats.Header{ServerHeader: {c.cfg.Server}}, []byte(err.Error()), err
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
