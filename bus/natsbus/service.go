package natsbus

import (
	"errors"
	"fmt"
	"maps"
	"slices"

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
	subjects := c.endpoints()
	for _, name := range slices.Sorted(maps.Keys(subjects)) { // as nats micro info shows them
		respond := micro.HandlerFunc(func(request micro.Request) {
			if err := c.respond(name, request); err != nil {
				c.cfg.Log.Debug("micro service", "endpoint", name, "err", err)
			}
		})
		if err := s.AddEndpoint(name, respond, micro.WithEndpointSubject(subjects[name]),
			micro.WithEndpointPendingLimits(maxRequestsWaiting, maxRequestBytes)); err != nil {
			return fmt.Errorf("micro service: endpoint %s: %w", name, err)
		}
	}
	return nil
}

// endpoints are the subjects of the service's endpoints, by name.
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
	return slices.Contains(slices.Collect(maps.Values(c.endpoints())), subject)
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
