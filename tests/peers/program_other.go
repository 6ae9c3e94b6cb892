//go:build !linux

package main

import "syscall"

// attributes are those of any child: what ends with its standard input ends with this process.
func attributes() *syscall.SysProcAttr { return nil }
