// Package contracts holds what crosses a wire or is stored: ids, client frames, the node envelope, NATS subjects,
// Redis keys, outcomes, error and close codes, limits. README.md beside this file is the protocol itself.
//
// It does no I/O and imports the standard library only. Everything that comes from outside is checked by the
// decoders of this package, once; what they return is trusted further in.
package contracts
