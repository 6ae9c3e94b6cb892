package calls

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/vm"

	"github.com/beeline-rt/beeline/contracts"
)

// rule takes the key from a call that has none. The zero rule has none for any.
type rule struct{ program *vm.Program }

const (
	ruleLength = 256 // bytes of an expression
	ruleNodes  = 64  // of its syntax tree. Nothing in it loops, so this bounds the work
)

// ruleFunctions are those that an expression may use: none that loops over data, or makes more of it.
var ruleFunctions = []string{"string", "lower", "upper", "trim", "len", "int"}

// ruleInput is what an expression is about.
type ruleInput struct {
	Data   any    `expr:"data"`
	Client string `expr:"client"`
}

// newRule compiles an expression.
func newRule(text string) (rule, error) {
	if text == "" {
		return rule{}, nil
	}
	if len(text) > ruleLength {
		return rule{}, fmt.Errorf("key is longer than %d bytes", ruleLength)
	}
	options := []expr.Option{expr.Env(ruleInput{}), expr.MaxNodes(ruleNodes), expr.DisableAllBuiltins()}
	for _, f := range ruleFunctions {
		options = append(options, expr.EnableBuiltin(f))
	}
	p, err := expr.Compile(text, options...)
	if err != nil {
		return rule{}, fmt.Errorf("key is no expression such as data.cart: %w", err)
	}
	var l loops
	node := p.Node()
	ast.Walk(&node, &l)
	if l.found {
		return rule{}, errors.New("key loops over data, has variables, or a pattern from data, which an expression for every call may not")
	}
	return rule{p}, nil
}

// loops finds what the number of nodes does not bound: the functions that take a predicate, which cannot be disabled by name, variables,
// which may double what they hold with each, and patterns that come with a call.
type loops struct{ found bool }

// Visit looks at one node.
func (l *loops) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.PredicateNode:
		l.found = true
	case *ast.VariableDeclaratorNode: // let a = data + data; let b = a + a; …
		l.found = true
	case *ast.BinaryNode:
		_, constant := n.Right.(*ast.StringNode)
		l.found = l.found || n.Operator == ".." || n.Operator == "matches" && !constant
	}
}

var errRule = errors.New("the service's rule for a key does not fit this data")

// of returns the key of a call; "" if it has none. Its errors are safe to show.
func (r rule) of(client contracts.ClientID, data []byte) (contracts.CallKey, error) {
	if r.program == nil {
		return "", nil
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		return "", errRule
	}
	out, err := expr.Run(r.program, ruleInput{v, string(client)})
	if err != nil {
		return "", errRule
	}
	var text string
	switch x := out.(type) {
	case nil:
		return "", nil
	case string:
		text = x
	case int:
		text = strconv.Itoa(x)
	case float64:
		if x != math.Trunc(x) || math.Abs(x) > contracts.MaxRequestID {
			return "", errRule
		}
		text = strconv.FormatInt(int64(x), 10)
	default:
		return "", errRule
	}
	key, err := contracts.ParseCallKey(text)
	if err != nil {
		return "", fmt.Errorf("the key that the service's rule takes from the data: %w", err)
	}
	return key, nil
}
