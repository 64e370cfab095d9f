package main

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"strings"
)

// handle runs one call. What it returns is the answer: []byte and string as they are,
// anything else as JSON. An error fails the call, with its text as the reason. What is
// printed goes into the call's log.
func handle(ctx context.Context, call *Call) (any, error) {
	name, err := nameIn(strings.TrimSpace(string(call.Body)))
	if err != nil {
		return nil, err
	}
	log.Printf("greeting %s", name)
	return "Hello " + name + "\n", nil
}

// nameIn reads a payload that is a name, or JSON with one, or empty.
func nameIn(text string) (string, error) {
	if text == "" {
		return "World", nil
	}
	if !strings.HasPrefix(text, "{") {
		return text, nil
	}
	var person struct{ Name *string }
	if err := json.Unmarshal([]byte(text), &person); err != nil || person.Name == nil {
		return "", errors.New(`the payload is no name and no JSON like {"name": "Ada"}`)
	}
	return *person.Name, nil
}
