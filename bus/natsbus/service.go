package natsbus

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/micro"

	"herd/bus"
)

// Service describes the server to tools, as a NATS micro service that is named for
// the herd's prefix: `nats micro ls`, `info` and `stats` find it.
type Service struct {
	Description string
	Metadata    map[string]string
	// Endpoints are the endpoints. Their requests are answered by bus.Handler.Answer, which
	// gets their names, or taken by bus.Handler.Stream. Those of bus.AnswerOne have a queue group, the prefix.
	Endpoints []bus.Endpoint
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
)

// addService adds the service to the connection, with which it ends.
func (c *connection) addService() error {
	service := c.cfg.Service
	s, err := micro.AddService(c.nc, micro.Config{
		Name: string(c.cfg.Prefix), Version: serviceVersion, QueueGroupDisabled: true,
		Description: service.Description, Metadata: service.Metadata,
	})
	if err != nil {
		return fmt.Errorf("micro service: %w", err)
	}
	byName := func(a, b bus.Endpoint) int { return strings.Compare(a.Name, b.Name) }
	for _, e := range slices.SortedFunc(slices.Values(service.Endpoints), byName) { // as nats micro info shows them
		take := c.respond
		if e.Stream {
			take = c.takeStreamRequest
		}
		respond := micro.HandlerFunc(func(request micro.Request) {
			if err := c.answer(e.Name, request, take); err != nil {
				c.cfg.Log.Debug("micro service", "endpoint", e.Name, "err", err)
			}
		})
		options := []micro.EndpointOpt{
			micro.WithEndpointSubject(e.Subject(c.cfg.Prefix, c.cfg.Server)),
			micro.WithEndpointPendingLimits(maxRequestsWaiting, maxRequestBytes),
		}
		if e.Answers == bus.AnswerOne {
			options = append(options, micro.WithEndpointQueueGroup(string(c.cfg.Prefix)))
		}
		if err := s.AddEndpoint(e.Name, respond, options...); err != nil {
			return fmt.Errorf("micro service: endpoint %s: %w", e.Name, err)
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

// answer lets take answer one request, unless its reply subject is not one for replies to tools: then
// nobody gets a reply.
func (c *connection) answer(endpoint string, request micro.Request, take func(endpoint string, request micro.Request) error) error {
	c.answering.Add(1)
	defer func() {
		if c.answering.Add(-1) == 0 {
			signal(c.answered)
		}
	}()
	if to := request.Reply(); !c.mayReply(to) {
		return fmt.Errorf("the reply subject %q is refused: a reply there would look like a message of a server", to)
	}
	return take(endpoint, request)
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
	reply, err := c.handler.Answer(endpoint, request.Data())
	if err == nil {
		return request.Respond(reply, c.from())
	}
	return c.respondError(request, err)
}

// respondError answers a request with an error in the form that micro services have for it: in
// headers, with its code, which is 400 for those that have none, and as text. Beyond busyAnswers,
// bus.ErrBusy is not answered.
func (c *connection) respondError(request micro.Request, err error) error {
	if errors.Is(err, bus.ErrBusy) && !c.busy.Allow() {
		return nil
	}
	code := "400"
	for _, known := range codes {
		if errors.Is(err, known.err) {
			code = known.code
		}
	}
	return request.Error(code, err.Error(), []byte(err.Error()), c.from())
}

// from is the header that says who replies.
func (c *connection) from() micro.RespondOpt {
	return micro.WithHeaders(micro.Headers{ServerHeader: {c.cfg.Server}})
}
