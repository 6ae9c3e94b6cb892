// Command beeline carries messages between clients that are connected to different servers: it is the server (edge), what
// tells clients where to connect (registry), a whole system on one machine (dev), a client for people at a terminal (listen, send, chat, token), and what measures (bench).
//
// It holds no logic of its own: a command turns flags into the configuration of package node, or into calls of the client.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Stop(signals) // first: the second signal ends the process at once, as if nobody had ever listened
		cancel()
	}()
	os.Exit(run(ctx, os.Args, os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}
