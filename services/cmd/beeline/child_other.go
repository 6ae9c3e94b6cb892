//go:build unix && !linux

package main

import "syscall"

// childAttributes keeps from a child the Ctrl-C that a terminal sends to the whole foreground: it is stopped after those
// who need it. If this process is killed, the child stays.
func childAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
