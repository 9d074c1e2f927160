package wire

import "testing"

func BenchmarkParseCommand(b *testing.B) {
	line := []byte("IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1621464827.959498503")
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		ParseCommand(line)
	}
}

func BenchmarkParseRecord(b *testing.B) {
	line := []byte("AT Goloman +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1621464827.959498503")
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRecord(line); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendRecord(b *testing.B) {
	c := ParseCommand([]byte("IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1621464827.959498503"))
	receipt := Instant{1621464828, 223371889}
	var line []byte
	b.ReportAllocs()
	for b.Loop() {
		line, _ = AppendRecord(line[:0], "Goloman", c, receipt)
	}
}
