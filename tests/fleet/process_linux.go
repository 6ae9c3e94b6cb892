package fleet

import "syscall"

// dieWithTest makes the kernel end a program whose test binary was killed, when no cleanup can run.
func dieWithTest() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
