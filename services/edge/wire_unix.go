//go:build unix

package edge

import (
	"errors"
	"syscall"
)

const canWriteDirectly = true

// writeDirectly writes what a non-blocking socket takes now.
func writeDirectly(fd uintptr, b []byte) (int, error) {
	for {
		n, err := syscall.Write(int(fd), b)
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			return 0, nil
		default:
			return 0, err
		}
	}
}

// readDirectly reads what a non-blocking socket has, or returns syscall.EAGAIN.
func readDirectly(fd uintptr, b []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), b)
		if !errors.Is(err, syscall.EINTR) {
			return max(n, 0), err
		}
	}
}
