// Package bench measures what a message costs: CPU of the servers, latency, memory for each connection. It is a client
// like any other, and knows of the servers what the operating system tells; `beeline bench` is its command.
//
// It must not flatter. What is sent is accounted for, message by message, or the run has failed. Latency counts from the
// moment when a message was due, whether or not it could be sent then. What comes before the measured part is not counted,
// and the processes that make the load are never counted among the servers.
//
// A [Driver] says how a system is spoken to: [Beeline] is one; another system is measured by the same works with a driver
// of its own, which takes one file.
package bench
