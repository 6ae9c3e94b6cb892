//go:build !linux

package presencetest

import "syscall"

// dieWithTest does nothing here: a server outlives a test binary that was killed.
func dieWithTest() *syscall.SysProcAttr { return nil }
