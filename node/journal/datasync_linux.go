package journal

import (
	"os"
	"syscall"
)

// dataSync waits until the file's content and size are on the disk.
func dataSync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if err != syscall.EINTR {
			return os.NewSyscallError("fdatasync "+f.Name(), err)
		}
	}
}
