package natsbus

import (
	"context"
	"errors"
	"fmt"
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
	// Endpoints are the names of the endpoints, each at <prefix>.<name>. Requests are
	// answered by bus.Handler.Answer, by each server for itself: there are no queue
	// groups.
	Endpoints []string
}

// ServerHeader is the header of an answer that names the server which gave it.
const ServerHeader = "Herd-Server"

const serviceVersion = "0.1.0"

func (r *run) addService() (micro.Service, error) {
	s, err := micro.AddService(r.nc, micro.Config{
		Name: string(r.cfg.Prefix), Version: serviceVersion, QueueGroupDisabled: true,
		Description: r.cfg.Service.Description, Metadata: r.cfg.Service.Metadata,
	})
	if err != nil {
		return nil, fmt.Errorf("micro service: %w", err)
	}
	for _, name := range slices.Sorted(slices.Values(r.cfg.Service.Endpoints)) { // as nats micro info shows them
		respond := micro.HandlerFunc(func(request micro.Request) {
			if err := r.respond(name, request); err != nil {
				r.cfg.Log.Debug("micro service", "endpoint", name, "err", err)
			}
		})
		if err := s.AddEndpoint(name, respond, micro.WithEndpointSubject(r.cfg.Prefix.Endpoint(name))); err != nil {
			return nil, fmt.Errorf("micro service: endpoint %s: %w", name, err)
		}
	}
	return s, nil
}

// respond answers one request. An error is answered in the form that micro services
// have for it: in headers, with code 404 for bus.ErrUnknown and 400 for all others,
// and as text.
func (r *run) respond(endpoint string, request micro.Request) error {
	from := micro.WithHeaders(micro.Headers{ServerHeader: {r.cfg.Server}})
	reply, err := r.handler.Answer(endpoint, request.Data())
	if err == nil {
		return request.Respond(reply, from)
	}
	code := "400"
	if errors.Is(err, bus.ErrUnknown) {
		code = "404"
	}
	return request.Error(code, err.Error(), []byte(err.Error()), from)
}

// Ask sends a request to one endpoint of all servers on the bus of cfg and calls take
// with each reply, until take returns false or ctx ends. Its error is bus.ErrDenied if
// the broker does not accept our credentials or does not permit the request. Of cfg, Server,
// Neighbours and Service need not be set.
func Ask(ctx context.Context, cfg Config, endpoint string, take func(reply []byte) (more bool)) error {
	opts, err := cfg.credentials()
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	opts = append(opts, nats.Name(cfg.Prefix.Connection(endpoint)), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		select {
		case failed <- askError(cfg, err):
		default:
		}
	}))
	nc, err := nats.Connect(strings.Join(cfg.URLs, ","), opts...)
	if err != nil {
		return askError(cfg, err)
	}
	defer nc.Close()
	inbox := nc.NewInbox()
	messages := make(chan *nats.Msg, 1024)
	if _, err := nc.ChanSubscribe(inbox, messages); err != nil {
		return askError(cfg, err)
	}
	if err := nc.PublishRequest(cfg.Prefix.Endpoint(endpoint), inbox, nil); err != nil {
		return askError(cfg, err)
	}
	for {
		select {
		case m := <-messages:
			if m.Header.Get("Status") == "503" || !take(m.Data) { // 503: no server is there
				return nil
			}
		case err := <-failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// askError is an error of Ask: denied is what the broker refuses us, and no other.
func askError(cfg Config, err error) error {
	if unauthorized(err) || errors.Is(err, nats.ErrPermissionViolation) {
		return fmt.Errorf("%w: %v", bus.ErrDenied, err)
	}
	return fmt.Errorf("bus %s: %w", bus.RedactURLs(cfg.URLs), err)
}
