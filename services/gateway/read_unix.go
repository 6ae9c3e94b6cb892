//go:build unix

package gateway

import (
	"errors"
	"syscall"
)

const canReadNow = true

// readNow reads what a non-blocking socket has.
func readNow(fd uintptr, b []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), b)
		if !errors.Is(err, syscall.EINTR) {
			return max(n, 0), err
		}
	}
}
