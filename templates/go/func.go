package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
)

// handle runs one call. What it returns is the answer: []byte and string as they are,
// anything else as JSON. An error fails the call, with its text as the reason. What is
// printed goes into the call's log.
func handle(ctx context.Context, call *Call) (any, error) {
	person := struct {
		Name string `json:"name"`
	}{Name: "World"}
	if len(call.Body) > 0 {
		if err := json.Unmarshal(call.Body, &person); err != nil {
			return nil, fmt.Errorf(`the payload should look like {"name": "Ada"}: %w`, err)
		}
	}
	log.Printf("greeting %s", person.Name)
	return map[string]string{"message": "Hello " + person.Name}, nil
}
