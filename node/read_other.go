//go:build !unix

package node

func (s *session) newReader() func() error { return s.readBuffered }
