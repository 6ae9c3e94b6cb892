package bench

import "github.com/beeline-rt/beeline/tools/bench/usage"

// SystemPart is the name of the part of beeline that runs a system as --self does: it takes a [SystemRequest], answers with a
// [System], and stops the system at its end. So programs that measure can start one without knowing what it needs.
const SystemPart = "system"

// SystemRequest says what to start. What runs already is not started again.
type SystemRequest struct {
	Edges int `json:"edges"`
}

// System is what runs.
type System struct {
	URLs    []string `json:"urls"`    // one for each node
	Servers []Server `json:"servers"` // whom to charge
}

// Server is a process of it.
type Server struct {
	Name   string `json:"name"`
	PID    int    `json:"pid"`
	Client bool   `json:"client"` // clients connect to it
}

// Processes are its processes, to be charged.
func (s System) Processes() []usage.Process {
	all := make([]usage.Process, len(s.Servers))
	for i, one := range s.Servers {
		all[i] = usage.Process{Name: one.Name, Source: usage.PID(one.PID), Client: one.Client}
	}
	return all
}
