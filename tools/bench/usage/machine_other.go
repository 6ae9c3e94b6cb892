//go:build !linux

package usage

// Machine is what all processors have spent, which is known on Linux only.
type Machine struct{}

// LookAtMachine says that it is not known.
func LookAtMachine() (m Machine, ok bool) { return m, false }

// OthersSince is not known.
func (Machine) OthersSince() float64 { return 0 }
