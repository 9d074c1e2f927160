package gazetteer

import (
	"compress/gzip"
	"context"
	_ "embed"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync"

	"herd/places"
)

//go:embed places.tsv.gz
var builtin string

// Gazetteer is a places.Source with a fixed list of places. It may be used concurrently.
type Gazetteer struct {
	compressed string // the list, gzipped TSV

	once   sync.Once
	loaded chan struct{} // closed once ix or err is set; they do not change after that
	ix     *index
	err    error
}

var _ places.Source = (*Gazetteer)(nil)

// New returns the built-in gazetteer. It is not loaded yet: New does no work and starts no goroutine.
func New() *Gazetteer { return newGazetteer(builtin) }

func newGazetteer(compressed string) *Gazetteer {
	return &Gazetteer{compressed: compressed, loaded: make(chan struct{})}
}

// Read returns a loaded gazetteer with the places in r. The format is uncompressed TSV, as in README.md. Errors about the
// contents name the line.
func Read(r io.Reader) (*Gazetteer, error) {
	var text strings.Builder
	if _, err := io.Copy(&text, r); err != nil {
		return nil, err
	}
	ix, err := parse(text.String())
	if err != nil {
		return nil, err
	}
	g := newGazetteer("")
	g.once.Do(func() { g.finish(ix, nil) })
	return g, nil
}

// Load decompresses and indexes the places. That takes 0.1 to 0.3 s of one core; the index then uses 38 MB of memory.
// Only the first call does the work. Later and concurrent calls wait for it and return the same error.
func (g *Gazetteer) Load() error {
	g.once.Do(func() {
		ix, err := load(g.compressed)
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

func load(compressed string) (*index, error) {
	text, err := decompress(compressed)
	if err != nil {
		return nil, err
	}
	return parse(text)
}

// decompress returns the text of a gzip file. It allocates once: the last four bytes of the file give the size.
func decompress(compressed string) (string, error) {
	r, err := gzip.NewReader(strings.NewReader(compressed))
	if err != nil {
		return "", err
	}
	var text strings.Builder
	size := binary.LittleEndian.Uint32([]byte(compressed[len(compressed)-4:]))
	text.Grow(int(min(size, 1<<26))) // limited, since a corrupt file may claim any size
	if _, err := io.Copy(&text, r); err != nil {
		return "", err
	}
	return text.String(), nil
}

// Nearby answers q. If the gazetteer is not loaded, Nearby starts loading it and waits until that is done or ctx ends.
// Once it is loaded, Nearby ignores ctx.
//
// Errors are of type *places.Error: INVALID_REQUEST for a query that is out of range, and UNKNOWN_ERROR if loading failed
// or has not ended.
func (g *Gazetteer) Nearby(ctx context.Context, q places.Query) ([]byte, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	if err := g.waitLoaded(ctx); err != nil {
		return nil, err
	}
	if g.err != nil {
		return nil, unknownError("the gazetteer could not be loaded", g.err)
	}
	return g.ix.nearby(q), nil
}

// waitLoaded waits until loading has ended, and starts it if necessary. It returns an error if ctx ends first.
func (g *Gazetteer) waitLoaded(ctx context.Context) error {
	select {
	case <-g.loaded:
		return nil
	default:
	}
	if ctx.Err() == nil {
		go g.Load() // sets g.ix or g.err
	}
	select {
	case <-g.loaded:
		return nil
	case <-ctx.Done():
		return unknownError("the gazetteer is still loading", context.Cause(ctx))
	}
}

func unknownError(message string, err error) *places.Error {
	return &places.Error{Status: places.StatusUnknownError, Message: message, Err: err}
}
