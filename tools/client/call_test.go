package client_test

import (
	"testing"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/client"
)

func TestAnErrorThatLeavesACallsFateOpenIsNoLeaveToRepeatIt(t *testing.T) {
	t.Parallel()
	for _, code := range []contracts.Code{contracts.CodeTimeout, contracts.CodeUnavailable, contracts.CodeTooLarge} {
		for _, unsure := range []bool{true, false} {
			if client.MayHaveArrived(&contracts.Error{Code: code, Unsure: unsure}) != unsure {
				t.Errorf("%s, unsure %t", code, unsure)
			}
		}
	}
}
