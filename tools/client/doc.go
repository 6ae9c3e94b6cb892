// Package client talks to a Beeline edge, as contracts/README.md describes it, over WebSocket or raw TCP: it connects, logs in, sends messages and
// tells what became of each, hands over what arrives, and connects again when the connection breaks. It also joins groups,
// publishes to them, and is in its groups again after a break before it reports that it is online.
//
// It stores nothing. A message that cannot be sent now is an error now, and a message that was under way when the
// connection broke is reported as such ([MayHaveArrived]); whether to send it again is for the application to say.
package client
