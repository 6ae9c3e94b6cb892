// Package broker is the way to NATS: how to connect, the bus between nodes. It is the only importer of nats.go.
package broker
