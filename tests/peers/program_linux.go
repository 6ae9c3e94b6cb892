package main

import "syscall"

// attributes let a child end with this process, however that ends, and keep from it the Ctrl-C that a terminal sends to all:
// it is stopped after those who need it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
