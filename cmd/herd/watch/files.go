package watch

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed page
var pageFiles embed.FS

// file is a file of the page.
type file struct {
	kind          string // its content type
	tag           string // quoted, of the plain content
	plain, zipped []byte // zipped is nil if it is not smaller
}

// kinds are the content types, by the ends of names. Files with other names are not served.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
	".json": "application/json", ".svg": "image/svg+xml", ".png": "image/png", ".bin": "application/octet-stream",
	".webmanifest": "application/manifest+json",
}

// readFiles reads the files, by their paths.
func readFiles() map[string]*file {
	files := map[string]*file{}
	err := fs.WalkDir(pageFiles, "page", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || kinds[path.Ext(name)] == "" {
			return err
		}
		content, err := pageFiles.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		files[strings.TrimPrefix(name, "page/")] = &file{
			kind: kinds[path.Ext(name)], tag: hex.EncodeToString(sum[:12]), plain: content, zipped: compress(content),
		}
		return nil
	})
	if err != nil {
		panic(err) // the files are part of the program
	}
	return files
}

// compress is the content in gzip; nil if that is not smaller.
func compress(content []byte) []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		z.Write(content) // a buffer takes everything
		z.Close()
	}
	if b.Len() == 0 || b.Len() >= len(content) {
		return nil
	}
	return b.Bytes()
}

// serveFile serves a file. Browsers ask each time whether theirs is still the same.
func (p *Page) serveFile(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	if name == "" {
		name = "index.html"
	}
	f := p.files[name]
	if f == nil {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	h := w.Header()
	body, tag := f.plain, f.tag
	h.Set("Vary", "Accept-Encoding")
	if f.zipped != nil && acceptsGzip(r) {
		body, tag = f.zipped, f.tag+"-gzip"
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", strconv.Quote(tag))
	h.Set("Cache-Control", "no-cache")
	if hasTag(r.Header.Get("If-None-Match"), strconv.Quote(tag)) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", f.kind)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method != http.MethodHead {
		w.Write(body) // an error: the browser is gone
	}
}

// acceptsGzip reports whether a request accepts gzip, without quality 0.
func acceptsGzip(r *http.Request) bool {
	for coding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, quality, _ := strings.Cut(strings.ReplaceAll(coding, " ", ""), ";")
		if name == "gzip" || name == "*" {
			q, err := strconv.ParseFloat(strings.TrimPrefix(quality, "q="), 64)
			return quality == "" || err == nil && q > 0
		}
	}
	return false
}

// hasTag reports whether a list of entity tags has one. A proxy may have made them weak.
func hasTag(list, tag string) bool {
	for one := range strings.SplitSeq(list, ",") {
		if one = strings.TrimPrefix(strings.TrimSpace(one), "W/"); one == tag || one == "*" {
			return true
		}
	}
	return false
}
