package main

import "syscall"

// childAttributes keeps from a child the Ctrl-C that a terminal sends to all: it is stopped after those who need it.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}
