package floor

import (
	"context"
	"os"
	"testing"
	"time"
)

// asPart is the part that a test binary is to be.
const asPart = "--as-part"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == asPart {
		if served, err := Serve(context.Background(), os.Args[2], os.Stdin, os.Stdout); !served || err != nil {
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestAWriteCostsSomething(t *testing.T) {
	t.Parallel()
	each, err := Write(t.Context(), []string{os.Args[0], asPart}, 10, Pattern{Rate: 5000, Burst: 5, Size: 100, For: 200 * time.Millisecond})
	if err != nil || each <= 0 || each > 10*time.Millisecond {
		t.Errorf("%v, %v", each, err)
	}
}

func TestAConnectionCostsSomething(t *testing.T) {
	t.Parallel()
	held, err := Accept(t.Context(), []string{os.Args[0], asPart}, 3000)
	if err != nil || held.CPU <= 0 || held.RSS <= 0 {
		t.Errorf("%+v, %v", held, err)
	}
}

func TestAPartThatDoesNotStartIsAnError(t *testing.T) {
	t.Parallel()
	if _, err := Write(t.Context(), []string{os.Args[0], "-test.run=^$"}, 1, Pattern{Rate: 1, Size: 1, For: time.Second}); err == nil {
		t.Error("no error")
	}
	if _, err := Write(t.Context(), nil, 1, Pattern{}); err == nil {
		t.Error("no error")
	}
}
