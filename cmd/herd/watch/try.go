package watch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"herd/node/wire"
)

const (
	// maxTry is how many bytes a request to change the herd may have.
	maxTry = 4096
	// tryTimeout is how long it may take: a server that stops hands over its records first.
	tryTimeout = 15 * time.Second
	// maxClientName is how many bytes a client may have that the page reports.
	maxClientName = 256
)

// tryRequest is a request to change the herd. Each action needs some of the fields.
type tryRequest struct {
	Server string   `json:"server"`
	Client string   `json:"client"`
	Lat    *float64 `json:"lat"`
	Lon    *float64 `json:"lon"`
	A      string   `json:"a"`
	B      string   `json:"b"`
}

// serveTry changes the herd.
func (p *Page) serveTry(w http.ResponseWriter, r *http.Request) {
	if why := p.refuseControl(r); why != "" {
		http.Error(w, why, http.StatusForbidden)
		return
	}
	request, err := readTry(http.MaxBytesReader(w, r.Body, maxTry))
	if err != nil {
		http.Error(w, oneLine(err.Error()), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), tryTimeout)
	defer cancel()
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(tryTimeout + writeTimeout)) // an error shows at the write
	reply, err := p.try(ctx, r.PathValue("action"), request)
	if err != nil {
		var own statusError
		status := http.StatusConflict // the herd is not as the page takes it to be
		if errors.As(err, &own) {
			status = own.status
		}
		http.Error(w, oneLine(err.Error()), status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(reply) // an error: the browser is gone
}

// readTry parses a request.
func readTry(body io.Reader) (request tryRequest, err error) {
	data, err := io.ReadAll(body)
	if err != nil {
		return request, fmt.Errorf("the request is longer than %d bytes, or incomplete", maxTry)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&request); err != nil {
		return request, fmt.Errorf("the request is not as expected: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return request, errors.New("the request is not as expected: something follows the JSON object")
	}
	return request, nil
}

// try does what a request asks for.
func (p *Page) try(ctx context.Context, action string, r tryRequest) (reply any, err error) {
	c := p.cfg.Controls
	switch action {
	case "report":
		return p.report(ctx, r)
	case "cut":
		err = c.Cut(r.A, r.B)
	case "heal":
		err = c.Heal(r.A, r.B)
	case "stop":
		err = c.Stop(ctx, r.Server)
	case "start":
		err = c.Start(ctx, r.Server)
	default:
		err = statusError{http.StatusNotFound, fmt.Errorf("there is no action %.40q: there are report, cut, heal, stop and start", action)}
	}
	return struct{}{}, err
}

// report reports a client's location.
func (p *Page) report(ctx context.Context, r tryRequest) (any, error) {
	switch {
	case !wire.IsClient(r.Client) || len(r.Client) > maxClientName:
		return nil, badRequest("client: "+notClient, r.Client, maxClientName)
	case r.Lat == nil || !(*r.Lat >= -90 && *r.Lat <= 90):
		return nil, badRequest("lat: it must be a number of degrees from -90 to 90")
	case r.Lon == nil || !(*r.Lon >= -180 && *r.Lon <= 180):
		return nil, badRequest("lon: it must be a number of degrees from -180 to 180")
	}
	line, err := p.cfg.Controls.Report(ctx, r.Server, r.Client, *r.Lat, *r.Lon)
	if err != nil {
		return nil, err
	}
	return struct {
		Reply string `json:"reply"`
	}{line}, nil
}
