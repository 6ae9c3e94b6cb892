package pace

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// exactTimer lets the thread wake when it asked for, not up to 50 us later. The caller calls undo.
func exactTimer() (undo func()) {
	const exact, usual = 1, 0 // nanoseconds; 0 is what the thread began with
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, exact, 0, 0, 0)
	return func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, usual, 0, 0, 0) }
}

// nap sleeps; a signal may end it early.
func nap(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil)
}

// bareNap sleeps without letting go of the processor that Go has given to the thread.
func bareNap(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_, _, _ = syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
}
