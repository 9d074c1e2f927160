package natsbus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"herd/bus"
)

// Service is what a server answers to tools, as a NATS micro service named for the
// herd's prefix: `nats micro ls`, `info` and `stats` find it.
type Service struct {
	Description string
	Metadata    map[string]string
	// Endpoints, by a name of bus.Endpoints, answer requests on <prefix>.<name>,
	// each server for itself: there are no queue groups.
	Endpoints map[string]Endpoint
}

// Endpoint answers the data of a request. Its error is the answer too, in the form
// that micro services have for it: in headers, with code 400, or 404 where it is
// ErrUnknown; and as text.
type Endpoint func(request []byte) (answer []byte, err error)

// ErrUnknown is an Endpoint's refusal to tell of what it does not have; wrapped.
var ErrUnknown = errors.New("unknown")

// ServerHeader is the header of an answer that names the server which gave it.
const ServerHeader = "Herd-Server"

const serviceVersion = "0.1.0"

func (r *run) serveTools() (micro.Service, error) {
	s, err := micro.AddService(r.nc, micro.Config{
		Name: string(r.cfg.Prefix), Version: serviceVersion, QueueGroupDisabled: true,
		Description: r.cfg.Service.Description, Metadata: r.cfg.Service.Metadata,
	})
	if err != nil {
		return nil, fmt.Errorf("micro service: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(r.cfg.Service.Endpoints)) { // as nats micro info shows them
		endpoint := r.cfg.Service.Endpoints[name]
		respond := micro.HandlerFunc(func(request micro.Request) {
			if err := r.respond(request, endpoint); err != nil {
				r.cfg.Log.Debug("micro service", "endpoint", name, "err", err)
			}
		})
		if err := s.AddEndpoint(name, respond, micro.WithEndpointSubject(r.cfg.Prefix.Endpoint(name))); err != nil {
			return nil, fmt.Errorf("micro service: endpoint %s: %w", name, err)
		}
	}
	return s, nil
}

func (r *run) respond(request micro.Request, endpoint Endpoint) error {
	from := micro.WithHeaders(micro.Headers{ServerHeader: {r.cfg.Server}})
	answer, err := endpoint(request.Data())
	if err == nil {
		return request.Respond(answer, from)
	}
	code := "400"
	if errors.Is(err, ErrUnknown) {
		code = "404"
	}
	return request.Error(code, err.Error(), []byte(err.Error()), from)
}

// Ask asks all servers on the bus of cfg at one of their endpoints and calls take
// with each answer, until take returns false or ctx ends. It returns an error that is
// bus.ErrDenied if the broker does not let us ask. Of cfg, Server, Neighbours and
// Service need not be set.
func Ask(ctx context.Context, cfg Config, endpoint string, take func(answer []byte) (more bool)) error {
	opts, err := cfg.access()
	if err != nil {
		return err
	}
	denied := make(chan error, 1)
	opts = append(opts, nats.Name(cfg.Prefix.Connection(endpoint)), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		select {
		case denied <- fmt.Errorf("%w: %v", bus.ErrDenied, err):
		default:
		}
	}))
	nc, err := nats.Connect(strings.Join(cfg.URLs, ","), opts...)
	if err != nil {
		return fmt.Errorf("bus %s: %w", bus.RedactURLs(cfg.URLs), err)
	}
	defer nc.Close()
	inbox := nc.NewInbox()
	messages := make(chan *nats.Msg, 1024)
	if _, err := nc.ChanSubscribe(inbox, messages); err != nil {
		return err
	}
	if err := nc.PublishRequest(cfg.Prefix.Endpoint(endpoint), inbox, nil); err != nil {
		return err
	}
	for {
		select {
		case m := <-messages:
			if m.Header.Get("Status") == "503" || !take(m.Data) { // 503: nobody is there
				return nil
			}
		case err := <-denied:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}
