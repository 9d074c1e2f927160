package node

import "golang.org/x/sys/unix"

// sendQueue is the number of bytes in a socket's send queue: not sent yet, or not
// acknowledged.
func sendQueue(fd uintptr) (bytes int, known bool) {
	bytes, err := unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
	return bytes, err == nil
}

// ackedBytes is the number of bytes that the peer has acknowledged so far. open says that the
// connection is not over; after a reset its send queue counts on.
func ackedBytes(fd uintptr) (bytes uint64, open bool) {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, false
	}
	return info.Bytes_acked, info.State != unix.BPF_TCP_CLOSE
}
