//go:build !linux

package pace

import "time"

func exactTimer() (undo func()) { return func() {} }

func nap(d time.Duration) { time.Sleep(d) }

func bareNap(d time.Duration) { time.Sleep(d) }
