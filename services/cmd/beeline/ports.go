package main

import (
	"fmt"
	"net"
	"strconv"
)

// localhost is where everything of `beeline dev` listens.
const localhost = "127.0.0.1"

// freePort returns a port of 127.0.0.1 that nobody listened on a moment ago.
func freePort() (int, error) {
	l, err := listen(0)
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// listenAddress returns the address with the wanted port, or, if that is taken, one whose port the listener picks.
func listenAddress(want int) (addr string, taken bool) {
	addr = net.JoinHostPort(localhost, strconv.Itoa(want))
	l, err := listen(want)
	if err != nil {
		return net.JoinHostPort(localhost, "0"), true
	}
	_ = l.Close()
	return addr, false
}

func listen(port int) (*net.TCPListener, error) {
	return net.ListenTCP("tcp", &net.TCPAddr{IP: net.ParseIP(localhost), Port: port})
}
