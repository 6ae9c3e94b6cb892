//go:build !linux

package fleet

import "syscall"

func dieWithTest() *syscall.SysProcAttr { return nil }
