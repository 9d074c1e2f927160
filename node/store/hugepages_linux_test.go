package store

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"
)

// TestHugePages: the kernel is advised to use huge pages for all of a large slice.
func TestHugePages(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("this kernel has no transparent huge pages")
	}
	s := makeLarge[entry](blockBytes / int(unsafe.Sizeof(entry{})))
	for _, e := range []*entry{&s[0], &s[len(s)/2], &s[len(s)-1]} {
		if flags := mappingFlags(t, uintptr(unsafe.Pointer(e))); !strings.Contains(flags, " hg") {
			t.Errorf("the mapping of %p has the flags %q, want hg among them", e, flags)
		}
	}
}

// mappingFlags is the kernel's flags of the mapping that contains an address.
func mappingFlags(t *testing.T, address uintptr) string {
	t.Helper()
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Skipf("cannot read the mappings: %v", err)
	}
	defer maps.Close()
	inside := false
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		var begin, end uintptr
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &begin, &end); n == 2 {
			inside = begin <= address && address < end
		}
		if flags, ok := strings.CutPrefix(lines.Text(), "VmFlags:"); ok && inside {
			return flags
		}
	}
	t.Fatalf("no mapping contains %#x", address)
	return ""
}
