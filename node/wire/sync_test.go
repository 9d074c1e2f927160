package wire

import (
	"bytes"
	"slices"
	"testing"
)

func TestSyncHeader(t *testing.T) {
	for _, s := range []Sync{
		{Kind: RequestGroups, ID: 1, Last: true, Body: []byte("x")},
		{Kind: ReplyLines, ID: 1<<64 - 1, Done: 1<<32 - 1, Body: []byte{}},
		{Kind: RequestLines, ID: 7, Last: true, Both: true, Body: []byte{}},
		{Kind: RequestGroups, ID: 7, Last: true, Floor: 1<<32 - 1, Body: []byte{}},
		{Kind: RequestLines, ID: 7, Last: true, Floor: 28331893, Body: []byte{}},
	} {
		got, err := ParseSync(s.Append(nil))
		if err != nil || got.Kind != s.Kind || got.ID != s.ID || got.Last != s.Last || got.Both != s.Both || got.Done != s.Done || got.Floor != s.Floor || !bytes.Equal(got.Body, s.Body) {
			t.Errorf("ParseSync(Append(%+v)) = %+v, %v", s, got, err)
		}
	}
	for _, bad := range []string{"", "G", "Z0000000000000", "G000000000000"} {
		if s, err := ParseSync([]byte(bad)); err == nil {
			t.Errorf("ParseSync(%q) = %+v, want an error", bad, s)
		}
	}
}

func TestSyncBodies(t *testing.T) {
	var digests [Groups]uint64
	for i := range digests {
		digests[i] = uint64(i) << 40
	}
	if got, err := ParseDigests(AppendDigests(nil, &digests)); err != nil || got != digests {
		t.Errorf("ParseDigests = %v, %v", got, err)
	}
	body := AppendGroup(AppendGroup(nil, 3, &digests), 255, &digests)
	var groups []byte
	if err := EachGroup(body, func(g byte, d *[Groups]uint64) {
		groups = append(groups, g)
		if *d != digests {
			t.Errorf("group %d = %v", g, d)
		}
	}); err != nil || string(groups) != "\x03\xff" {
		t.Errorf("EachGroup visited groups %v, %v, want [3 255]", groups, err)
	}
	if EachGroup(body[:len(body)-1], func(byte, *[Groups]uint64) {}) == nil {
		t.Error("EachGroup of a truncated body: no error")
	}

	body = AppendBucket(AppendBucket(nil, 65535, []uint64{1, 1 << 63}), 0, nil)
	bucket, hashes, rest, err := NextBucket(body, nil)
	if err != nil || bucket != 65535 || !slices.Equal(hashes, []uint64{1, 1 << 63}) {
		t.Errorf("NextBucket = %d, %v, %v", bucket, hashes, err)
	}
	bucket, hashes, rest, err = NextBucket(rest, nil)
	if err != nil || bucket != 0 || len(hashes) > 0 || len(rest) > 0 {
		t.Errorf("NextBucket = %d, %v, rest %v, %v", bucket, hashes, rest, err)
	}
	for _, length := range []int{1, 5, 13, 21} {
		if _, _, _, err := NextBucket(body[:length], nil); err == nil {
			t.Errorf("NextBucket of the first %d bytes: no error", length)
		}
	}
}

// FuzzSync: parsing any bytes ends without a panic, and allocates no more than their
// length.
func FuzzSync(f *testing.F) {
	f.Add(Sync{Kind: RequestLines, ID: 1, Body: AppendBucket(nil, 5, []uint64{1, 2, 3})}.Append(nil))
	f.Add(Sync{Kind: ReplyBuckets, ID: 1, Last: true, Body: AppendGroup(nil, 1, new([Groups]uint64))}.Append(nil))
	f.Fuzz(func(t *testing.T, message []byte) {
		s, err := ParseSync(message)
		if err != nil {
			return
		}
		ParseDigests(s.Body)
		EachGroup(s.Body, func(byte, *[Groups]uint64) {})
		for rest := s.Body; len(rest) > 0; {
			var hashes []uint64
			if _, hashes, rest, err = NextBucket(rest, nil); err != nil {
				return
			}
			if 8*len(hashes) > len(message) {
				t.Fatalf("%d hashes from %d bytes", len(hashes), len(message))
			}
		}
	})
}
