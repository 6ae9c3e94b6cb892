package main

import "syscall"

// childAttributes lets a child end with this process, however that ends, and keeps from it the Ctrl-C that a terminal
// sends to the whole foreground: it is stopped after those who need it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
