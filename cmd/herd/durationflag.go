package main

import (
	"fmt"
	"reflect"
	"time"

	"github.com/alecthomas/kong"
)

// decodeDuration reads the value of a flag that is a time.Duration: a kong.MapperFunc.
func decodeDuration(ctx *kong.DecodeContext, target reflect.Value) error {
	if ctx.Scan.Peek().IsEOL() {
		return fmt.Errorf("requires a duration, such as 30s or 10m")
	}
	token, err := ctx.Scan.PopValue("duration")
	if err != nil {
		return err
	}
	d, err := time.ParseDuration(token.String())
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 30s or 10m", token.String())
	}
	target.Set(reflect.ValueOf(d))
	return nil
}
