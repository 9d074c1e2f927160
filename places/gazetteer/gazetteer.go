package gazetteer

import (
	"compress/gzip"
	"context"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"herd/places"
)

//go:embed places.tsv.gz
var builtin string

// Gazetteer is a places.Source over a fixed list of places, shared by any number of goroutines.
type Gazetteer struct {
	packed string // the list, gzipped TSV

	once   sync.Once
	loaded chan struct{} // closed when ix or err is set, for good
	ix     *index
	err    error
}

var _ places.Source = (*Gazetteer)(nil)

// New returns the built-in gazetteer, not loaded yet. It does no work and starts nothing.
func New() *Gazetteer { return unloaded(builtin) }

func unloaded(packed string) *Gazetteer {
	return &Gazetteer{packed: packed, loaded: make(chan struct{})}
}

// Read returns a loaded gazetteer of the places in r: TSV as README.md describes it, not compressed. An error about
// the contents names the line.
func Read(r io.Reader) (*Gazetteer, error) {
	var text strings.Builder
	if _, err := io.Copy(&text, r); err != nil {
		return nil, err
	}
	ix, err := parse(text.String())
	if err != nil {
		return nil, err
	}
	g := unloaded("")
	g.once.Do(func() { g.finish(ix, nil) })
	return g, nil
}

// Load unpacks and indexes the places: 0.1 to 0.3 s of one core, after which they hold 38 MB of memory. It works once;
// a later or concurrent call waits for the first and returns the same error.
func (g *Gazetteer) Load() error {
	g.once.Do(func() {
		ix, err := load(g.packed)
		if err != nil {
			err = fmt.Errorf("load gazetteer: %w", err)
		}
		g.finish(ix, err)
	})
	return g.err
}

func (g *Gazetteer) finish(ix *index, err error) {
	g.ix, g.err = ix, err
	close(g.loaded)
}

func load(packed string) (*index, error) {
	text, err := unpack(packed)
	if err != nil {
		return nil, err
	}
	return parse(text)
}

// unpack returns the text of a gzip file, written once into memory of the size that the file's last four bytes give.
func unpack(packed string) (string, error) {
	r, err := gzip.NewReader(strings.NewReader(packed))
	if err != nil {
		return "", err
	}
	var text strings.Builder
	size := binary.LittleEndian.Uint32([]byte(packed[len(packed)-4:]))
	text.Grow(int(min(size, 1<<26))) // a hint: a corrupt size costs little
	if _, err := io.Copy(&text, r); err != nil {
		return "", err
	}
	return text.String(), nil
}

// Nearby answers q. It has the places loaded, if nobody has yet, and waits for that until ctx ends; after that it answers
// at once, whatever ctx says. Its errors are *places.Error: INVALID_REQUEST for a query out of its limits, UNKNOWN_ERROR
// while the gazetteer is not loaded or when it could not be.
func (g *Gazetteer) Nearby(ctx context.Context, q places.Query) ([]byte, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	if err := g.wait(ctx); err != nil {
		return nil, err
	}
	if g.err != nil {
		return nil, unknown("the gazetteer could not be loaded", g.err)
	}
	return g.ix.answer(q), nil
}

// wait returns when the places are loaded, which it sets off if nobody has.
func (g *Gazetteer) wait(ctx context.Context) error {
	select {
	case <-g.loaded:
		return nil
	default:
	}
	if ctx.Err() == nil {
		go g.Load() // the outcome is in g
	}
	select {
	case <-g.loaded:
		return nil
	case <-ctx.Done():
		return unknown("the gazetteer is still loading", context.Cause(ctx))
	}
}

func unknown(message string, err error) *places.Error {
	return &places.Error{Status: places.StatusUnknownError, Message: message, Err: err}
}

// errTooBig keeps offsets into the text within 32 bits.
var errTooBig = errors.New("more than 4 GiB of text")
