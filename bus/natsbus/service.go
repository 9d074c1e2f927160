package natsbus

import (
	"errors"
	"fmt"
	"runtime/debug"
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
	// gets their names. Those of bus.AnswerOne have a queue group, the prefix.
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
)

// addService adds the service to the connection, with which it ends.
func (c *connection) addService() error {
	service := c.cfg.Service
	main := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		main = info.Main.Version
	}
	s, err := micro.AddService(c.nc, micro.Config{
		Name: string(c.cfg.Prefix), Version: serviceVersion(main), QueueGroupDisabled: true,
		Description: service.Description, Metadata: service.Metadata,
	})
	if err != nil {
		return fmt.Errorf("micro service: %w", err)
	}
	byName := func(a, b bus.Endpoint) int { return strings.Compare(a.Name, b.Name) }
	for _, e := range slices.SortedFunc(slices.Values(service.Endpoints), byName) { // as nats micro info shows them
		respond := micro.HandlerFunc(func(request micro.Request) {
			if err := c.respond(e.Name, request); err != nil {
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

// respond answers one request. An error is answered in the form that micro services
// have for it: in headers, with its code, which is 400 for those that have none, and as
// text. Beyond busyAnswers, bus.ErrBusy is not answered.
func (c *connection) respond(endpoint string, request micro.Request) error {
	c.answering.Add(1)
	defer func() {
		if c.answering.Add(-1) == 0 {
			signal(c.answered)
		}
	}()
	from := micro.WithHeaders(micro.Headers{ServerHeader: {c.cfg.Server}})
	reply, err := c.handler.Answer(endpoint, request.Data())
	if err == nil {
		return request.Respond(reply, from)
	}
	if errors.Is(err, bus.ErrBusy) && !c.busy.Allow() {
		return nil
	}
	code := "400"
	for _, known := range codes {
		if errors.Is(err, known.err) {
			code = known.code
		}
	}
	return request.Error(code, err.Error(), []byte(err.Error()), from)
}
