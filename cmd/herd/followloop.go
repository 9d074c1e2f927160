package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"herd/bus"
	"herd/bus/natsbus"
	"herd/cmd/herd/watch"
	"herd/node/follow"
	"herd/node/status"
)

const (
	// followPause is how long to wait when a stream has ended soon. It doubles each time, up to maxFollowPause.
	followPause    = 100 * time.Millisecond
	maxFollowPause = 2 * time.Second
	// steadyStream is how long a stream lives that did not end soon.
	steadyStream = 10 * time.Second
)

// finalError is an error of somebody who takes frames, after which no other server is followed.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

// followServers follows one server after the other, until ctx ends or frames returns a finalError. If none can be followed at
// the beginning, it returns the last error. After the last server it goes on with the first. It
// passes other losses to report.
func followServers(ctx context.Context, cfg natsbus.Config, servers func() []string, request follow.Request, frames watch.Frames, report streamReport) error {
	body, err := json.Marshal(request)
	if err != nil {
		return err
	}
	received := false // a frame, ever
	pause := followPause
	for tries := 1; ; tries++ {
		names := servers() // they may change
		server := names[(tries-1)%len(names)]
		began, begun := time.Now(), false
		err := natsbus.Follow(ctx, cfg, status.FollowEndpoint, server, body, func(frame natsbus.Frame) error {
			if !begun {
				received, begun = true, true
				report.Began(server)
			}
			return frames.Take(frame)
		})
		var final finalError
		switch {
		case err == nil: // ctx has ended
			return nil
		case errors.As(err, &final):
			return final.error
		case !received && errors.Is(err, bus.ErrDenied):
			return fmt.Errorf("%w; servers that the herd does not have are denied, too: is HERD_TOPOLOGY the herd's?", err)
		case !received && tries >= len(names):
			return err
		case time.Since(began) >= steadyStream:
			pause = followPause
		}
		report.Lost(server, names[tries%len(names)], err)
		frames.Lost(err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		pause = min(2*pause, maxFollowPause)
	}
}
