package places_test

import (
	"errors"
	"math"
	"testing"

	"herd/places"
)

func TestQueryCheck(t *testing.T) {
	for _, q := range []places.Query{
		{}, {Lat: 90, Lon: 180, Radius: 50_000, Bound: 20}, {Lat: -90, Lon: -180, Radius: 0.1, Bound: 1},
	} {
		if err := q.Check(); err != nil {
			t.Errorf("%+v.Check() = %v, want nil", q, err)
		}
	}
	nan := math.NaN()
	for _, q := range []places.Query{
		{Lat: 90.0001}, {Lat: -90.0001}, {Lat: nan},
		{Lon: 180.0001}, {Lon: -180.0001}, {Lon: nan},
		{Radius: -1}, {Radius: 50_001}, {Radius: nan},
		{Bound: -1}, {Bound: 21},
	} {
		var e *places.Error
		if err := q.Check(); !errors.As(err, &e) || e.Status != "INVALID_REQUEST" {
			t.Errorf("%+v.Check() = %v, want INVALID_REQUEST", q, err)
		}
	}
}

func TestError(t *testing.T) {
	cause := errors.New("dial tcp: refused")
	err := &places.Error{Status: "UNKNOWN_ERROR", Message: "timed out", Err: cause}
	if want := "UNKNOWN_ERROR: timed out: dial tcp: refused"; err.Error() != want {
		t.Errorf("Error() = %q, want %q", err.Error(), want)
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is not wrapped")
	}
	err.Err = nil
	if want := "UNKNOWN_ERROR: timed out"; err.Error() != want {
		t.Errorf("Error() = %q, want %q", err.Error(), want)
	}
}
