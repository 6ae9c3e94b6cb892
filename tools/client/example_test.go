package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/beeline-rt/beeline/contracts"
	"github.com/beeline-rt/beeline/tools/client"
)

func Example() {
	ctx := context.Background()
	c, err := client.Dial(ctx, "wss://chat.example.org", client.Options{
		Token:   client.StaticToken("eyJ…"),
		Handler: func(m client.Message) { fmt.Printf("%s says %s\n", m.From, m.Data) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	_, err = c.Send(ctx, "bob", []byte(`{"text":"hi"}`))
	var refused *contracts.Error
	switch {
	case err == nil:
		fmt.Println("delivered")
	case errors.As(err, &refused) && refused.Code == contracts.CodeOffline:
		fmt.Println("bob is not there")
	case client.MayHaveArrived(err):
		fmt.Println("perhaps:", err)
	default:
		fmt.Println("not sent:", err)
	}
}

// Many requests under way at a time need no goroutine each.
func ExampleClient_SendAsync() {
	c, err := client.Dial(context.Background(), "ws://localhost:8080", client.Options{Client: "load"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	const n = 1000
	results := make(chan error, n)
	for range n {
		err := c.SendAsync("bob", []byte(`"hi"`), func(_ client.Result, err error) { results <- err })
		if err != nil { // for instance ErrBusy: then it has no other result
			results <- err
		}
	}
	delivered := 0
	for range n {
		if <-results == nil {
			delivered++
		}
	}
	fmt.Println(delivered, "delivered")
}

// A member of a group gets what others publish to it, also after its connection broke and came back.
func ExampleClient_Join() {
	ctx := context.Background()
	c, err := client.Dial(ctx, "wss://chat.example.org", client.Options{
		Token:   client.StaticToken("eyJ…"),
		Handler: func(m client.Message) { fmt.Printf("%s to %s: %s\n", m.From, m.Group, m.Data) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	if err := c.Join(ctx, "room"); err != nil {
		log.Fatal(err)
	}
	sent, err := c.Publish(ctx, "room", []byte(`"hi, all"`))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("sent to", sent.Nodes, "nodes")
}
