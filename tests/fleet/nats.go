package fleet

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/beeline-rt/beeline/broker/embedded"
)

// NATSVariable is the environment variable that makes a test binary a NATS server, which can then be killed: its address,
// the one that other clusters link to, and those that it links to.
const NATSVariable = "BEELINE_TEST_NATS"

const natsMessages = "messages "

// BeNATS is what TestMain does when it finds [NATSVariable]: it runs the server until in ends, and answers each line there
// with how many messages the server has taken in and given out.
func BeNATS(variable string, in io.Reader, out io.Writer) error {
	words := strings.Fields(variable)
	if len(words) < 2 {
		return fmt.Errorf("%s is %q: it takes addresses", NATSVariable, variable)
	}
	var ports [2]int
	for i := range ports {
		_, port, err := net.SplitHostPort(words[i])
		if err == nil {
			ports[i], err = strconv.Atoi(port)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", NATSVariable, err)
		}
	}
	s, err := embedded.Start(embedded.Options{Port: ports[0], LeafPort: ports[1], LeafOf: words[2:]})
	if err != nil {
		return err
	}
	defer s.Shutdown()
	fmt.Fprintln(out, "NATS is ready")
	for lines := bufio.NewScanner(in); lines.Scan(); {
		n, err := s.Messages()
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s%d\n", natsMessages, n)
	}
	return nil
}

// runNATS starts this test binary as a NATS server.
func runNATS(tb testing.TB, variables []string) (*Process, io.WriteCloser) {
	tb.Helper()
	p := newProcess(tb, os.Args[0])
	p.Cmd.Env = append(os.Environ(), variables...)
	in, err := p.Cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	p.start()
	tb.Cleanup(p.Kill)
	return p, in
}
